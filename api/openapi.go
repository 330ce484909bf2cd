package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// The paths of the API's description, for programs and for people.
const (
	openapiPath = "/api/v1/openapi.json"
	docsPath    = "/api/v1/docs"
)

// openapiJSON is the OpenAPI 3.1 document. The tests hold every answer against it.
//
//go:embed openapi.json
var openapiJSON []byte

//go:embed docs.html
var docsHTML string

// description is the document as it is served: of this deployment's address.
type description struct{ document, page []byte }

func describe(publicURL string) (description, error) {
	var doc map[string]any
	if err := json.Unmarshal(openapiJSON, &doc); err != nil {
		return description{}, fmt.Errorf("openapi.json: %w", err)
	}
	doc["servers"] = []any{map[string]any{"url": publicURL}}
	document, err := json.Marshal(doc)
	if err != nil {
		return description{}, fmt.Errorf("openapi.json: %w", err)
	}
	page, err := docsPage(document)
	return description{document, page}, err
}

func (s *server) openapi(c *gin.Context) {
	c.Data(http.StatusOK, "application/json; charset=utf-8", s.described.document)
}

// docs is a page without scripts and without anything of another site's.
func (s *server) docs(c *gin.Context) {
	c.Header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	c.Data(http.StatusOK, "text/html; charset=utf-8", s.described.page)
}

// The parts of the document that the page shows.
type (
	docParameter struct {
		Name, In, Description string
		Required              bool
		Ref                   string `json:"$ref"`
	}
	docResponse struct {
		Description string
		Ref         string `json:"$ref"`
		Content     map[string]struct {
			Schema struct {
				Ref string `json:"$ref"`
			}
		}
	}
	docOperation struct {
		Summary, Description string
		Parameters           []docParameter
		Responses            map[string]docResponse
	}
	docDocument struct {
		Info    struct{ Title, Description string }
		Servers []struct{ URL string }
		Errors  []struct {
			Code    string
			Status  int
			Meaning string
		} `json:"x-errors"`
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Parameters map[string]docParameter
			Responses  map[string]docResponse
			Schemas    map[string]json.RawMessage
		}
	}
)

// docEntry is one operation on the page.
type docEntry struct {
	Method, Path string
	Op           docOperation
	Parameters   []docParameter
	Answers      []docAnswer
}

type docAnswer struct{ Status, Description, Schema string }

// methodsShown are the methods on the page; a preflight is no one's business.
var methodsShown = []string{"get", "post", "delete"}

func docsPage(document []byte) ([]byte, error) {
	var doc docDocument
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("openapi.json: %w", err)
	}
	entries, err := doc.entries()
	if err != nil {
		return nil, err
	}
	schemas := map[string]string{}
	for name, raw := range doc.Components.Schemas {
		var text bytes.Buffer
		if err := json.Indent(&text, raw, "", "  "); err != nil {
			return nil, fmt.Errorf("openapi.json: schema %s: %w", name, err)
		}
		schemas[name] = text.String()
	}
	t, err := template.New("docs").Parse(docsHTML)
	if err != nil {
		return nil, fmt.Errorf("docs.html: %w", err)
	}
	var page bytes.Buffer
	err = t.Execute(&page, map[string]any{"Doc": doc, "Entries": entries, "Schemas": schemas, "JSON": openapiPath})
	return page.Bytes(), err
}

func (d docDocument) entries() ([]docEntry, error) {
	var entries []docEntry
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		item := d.Paths[path]
		var shared []docParameter
		if raw, ok := item["parameters"]; ok {
			if err := json.Unmarshal(raw, &shared); err != nil {
				return nil, fmt.Errorf("openapi.json: %s: %w", path, err)
			}
		}
		for _, method := range methodsShown {
			raw, ok := item[method]
			if !ok {
				continue
			}
			e := docEntry{Method: strings.ToUpper(method), Path: path}
			if err := json.Unmarshal(raw, &e.Op); err != nil {
				return nil, fmt.Errorf("openapi.json: %s %s: %w", e.Method, path, err)
			}
			for _, p := range append(slices.Clone(shared), e.Op.Parameters...) {
				e.Parameters = append(e.Parameters, d.Components.Parameters[last(p.Ref)])
			}
			e.Answers = d.answers(e.Op)
			entries = append(entries, e)
		}
	}
	return entries, nil
}

func (d docDocument) answers(op docOperation) []docAnswer {
	var out []docAnswer
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		if r.Ref != "" {
			r = d.Components.Responses[last(r.Ref)]
		}
		out = append(out, docAnswer{status, r.Description, last(r.Content["application/json"].Schema.Ref)})
	}
	return out
}

// last is the name at the end of a reference.
func last(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }
