package lab

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/taskcluster/slugid-go/slugid"
)

// putPath is where the bucket is that s3 artifacts are put into.
const putPath = "/bucket/"

// maxUpload bounds one artifact, in bytes.
const maxUpload = 8 << 20

// queueArtifact is an artifact of one run.
type queueArtifact struct {
	request map[string]any
	content []byte
	puts    int
}

// lateArtifacts is how long after an exception a run takes artifacts
// (services/queue, artifacts.js).
const lateArtifacts = 25 * time.Minute

// artifact answers createArtifact. An artifact may be asked for again only with
// what it was made with, and a later expiry.
func (t *Taskcluster) artifact(q *queueTask, run *queueRun, in *asked) (any, error) {
	expires, _ := time.Parse(time.RFC3339, fmt.Sprint(in.body["expires"]))
	switch {
	case expires.After(q.time("expires")):
		t.mistake("createArtifact %s: expires after its task", in.args["name"])
		return nil, refuse(http.StatusBadRequest, "InputError", "Artifact expires after the task expiration")
	case expires.Before(t.Now()):
		t.mistake("createArtifact %s: expires in the past", in.args["name"])
		return nil, refuse(http.StatusBadRequest, "InputError", "Expires must be in the future")
	case run.state != "running" && (run.state != "exception" || t.Now().Sub(run.closed) > lateArtifacts):
		return nil, refuse(http.StatusConflict, "RequestConflict", "Artifacts cannot be created for a task after it is resolved")
	}
	there := run.artifacts[in.args["name"]]
	if there != nil && !reflect.DeepEqual(there.request, in.body) {
		t.mistake("createArtifact %s: made before with %v, now with %v", in.args["name"], there.request, in.body)
		return nil, refuse(http.StatusConflict, "RequestConflict", "Artifact already exists with different properties")
	}
	if there == nil {
		there = &queueArtifact{request: in.body}
		run.artifacts[in.args["name"]] = there
	}
	kind, _ := in.body["storageType"].(string)
	answer := map[string]any{"storageType": kind}
	switch kind {
	case "s3":
		token := slugid.Nice()
		t.uploads[token] = there
		answer["putUrl"], answer["contentType"], answer["expires"] = t.url+putPath+token, in.body["contentType"], stamp(t.Now().Add(45*time.Minute))
	case "object":
		t.mistake("createArtifact %s: this stand-in has no object service", in.args["name"])
		return nil, refuse(http.StatusBadRequest, "InputError", "no object service")
	}
	return answer, nil
}

// upload takes the content of an s3 artifact, as S3 does: by a signed URL, with
// the length said before and the type that was signed.
func (t *Taskcluster) upload(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxUpload))
	t.mu.Lock()
	defer t.mu.Unlock()
	there := t.uploads[strings.TrimPrefix(r.URL.Path, putPath)]
	switch {
	case there == nil || r.Method != http.MethodPut:
		t.mistake("%s %s: no such upload", r.Method, r.URL.Path)
		http.Error(w, "SignatureDoesNotMatch", http.StatusForbidden)
	case err != nil || r.ContentLength < 0 || r.Header.Get("Content-Type") != there.request["contentType"] || r.Header.Get("Authorization") != "":
		t.mistake("upload: length %d, Content-Type %q, credentials %t", r.ContentLength, r.Header.Get("Content-Type"), r.Header.Get("Authorization") != "")
		http.Error(w, "SignatureDoesNotMatch", http.StatusForbidden)
	case t.isDown("bucket"):
		http.Error(w, "SlowDown", http.StatusServiceUnavailable)
	default:
		there.content = content
		there.puts++
	}
	t.ring()
}

// Artifact returns an artifact's content as a reader of the task sees it (a link
// is followed, a reference is its URL) and how often it was put.
func (t *Taskcluster) Artifact(taskID string, run int, name string) (content string, puts int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for range 2 {
		there := t.tasks[taskID].runs[run].artifacts[name]
		if there == nil {
			return "", 0
		}
		switch there.request["storageType"] {
		case "link":
			name, _ = there.request["artifact"].(string)
		case "reference":
			return fmt.Sprint(there.request["url"]), 1
		default:
			return string(there.content), there.puts
		}
	}
	return "", 0
}
