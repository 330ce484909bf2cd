package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unicode/utf8"
)

// node is one JSON value and the line where it ends, or, for an object or an
// array, begins. encoding/json's own decoding into structs knows no lines, takes
// a key twice and stops at the first mistake.
type node struct {
	line   int
	kind   string // as people call it: "an object", "a text", ...
	value  any    // string, json.Number, bool or nil
	fields []field
	items  []*node
}

// field is one key of an object with its value.
type field struct {
	key   string
	line  int
	value *node
}

// readJSON reads a file whole. A missing file is nil when it is optional.
func readJSON(path string, optional bool) (*node, *mistake) {
	data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &mistake{path: path, text: "cannot be read: " + cause(err)}
	}
	return parseJSON(path, data)
}

// parseJSON reads a text whole. The mistake holds nothing of its content, which
// may be part of a password.
func parseJSON(path string, data []byte) (*node, *mistake) {
	if at, text := invalid(data); text != "" {
		before := data[:min(max(at, 0), len(data))]
		column := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
		return nil, &mistake{path, 1 + bytes.Count(before, []byte("\n")), fmt.Sprintf("%s (column %d)", text, max(column, 1))}
	}
	r := &jsonReader{data: data, line: 1, dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	return r.next(), nil
}

// cause is an error of the file system without the path, which the mistake has.
func cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// invalid says what is wrong with a text as JSON and after how many bytes.
func invalid(data []byte) (at int, text string) {
	if !utf8.Valid(data) {
		for at < len(data) {
			r, size := utf8.DecodeRune(data[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return at + 1, "is not UTF-8 here"
	}
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return int(e.Offset), "is not JSON from here on"
	}
	return 0, ""
}

// jsonReader walks over a text that is known to be JSON, so that no token fails.
type jsonReader struct {
	data []byte
	dec  *json.Decoder
	seen int // bytes whose lines are counted
	line int
}

// token returns the next token and the line where it ends, which is where it
// begins: no JSON token has a line break inside.
func (r *jsonReader) token() (json.Token, int) {
	t, err := r.dec.Token()
	if err != nil { // invalid has seen the same bytes
		panic(fmt.Sprintf("config: the JSON decoder contradicts itself at byte %d", r.dec.InputOffset()))
	}
	end := int(r.dec.InputOffset())
	r.line += bytes.Count(r.data[r.seen:end], []byte("\n"))
	r.seen = end
	return t, r.line
}

func (r *jsonReader) next() *node {
	t, line := r.token()
	n := &node{line: line, value: t}
	switch v := t.(type) {
	case json.Delim:
		r.inside(n, v)
	case string:
		n.kind = "a text"
	case json.Number:
		n.kind = "a number"
	case bool:
		n.kind = "true or false"
	default:
		n.kind = "null"
	}
	return n
}

// inside reads an object or an array to its end.
func (r *jsonReader) inside(n *node, begin json.Delim) {
	n.value, n.kind = nil, "a list"
	if begin == '{' {
		n.kind = "an object"
	}
	for r.dec.More() {
		if begin == '[' {
			n.items = append(n.items, r.next())
			continue
		}
		key, line := r.token()
		name, _ := key.(string)
		n.fields = append(n.fields, field{key: name, line: line, value: r.next()})
	}
	r.token()
}
