package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// maxBody is the most bytes of a body that are read.
const maxBody = 64 << 10

// scope says whom an operation is for.
type scope int

const (
	anyAdmin    scope = iota // who may use the API for some streams: it sees those
	wholeAdmin               // who may use it for all streams
	ofStream                 // who may use it for the stream of the path
	orPublisher              // or may publish that
	ofStage                  // who may use it for the stage of the path and all its seats
	ofSeat                   // or has one of its seats
)

// operation is one row of the table of operations.
type operation struct {
	id, method, path string
	tag, summary     string
	scope            scope
	status           int    // when it works; 0: 200
	codes            []Code // besides those that all of its scope have
}

// router knows the operations. It is immutable once made.
type router struct {
	mux    *http.ServeMux
	api    huma.API
	scopes map[string]scope // by pattern
	codes  map[string][]Code
	doc    []byte
	log    *slog.Logger
}

// grantKey is the key of a request's Grant in its context.
type grantKey struct{}

func grantOf(ctx context.Context) auth.Grant {
	g, _ := ctx.Value(grantKey{}).(auth.Grant)
	return g
}

// newRouter makes the table of operations and its description.
func (s *Server) newRouter() *router {
	mux, format := http.NewServeMux(), huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Whipcast", Version: "1",
				Description: "What is live, who is connected, what is kept. All problems are application/problem+json with a code that never changes.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "The publish token, a key or a token with the action admin."},
				},
			},
			Security: []map[string][]string{{"bearer": {}}},
		},
		Formats:       map[string]huma.Format{"application/json": format, "json": format}, // json: of application/problem+json
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{documentProblem},
	}
	t := &router{mux: mux, api: humago.New(mux, config), scopes: map[string]scope{}, codes: map[string][]Code{}, log: s.cfg.Logger}
	s.streamOperations(t)
	s.sessionOperations(t)
	s.markOperations(t)
	s.replayOperations(t)
	s.sourceOperations(t)
	s.stageOperations(t)
	s.tokenOperations(t)
	s.gatewayOperations(t)
	s.drainOperations(t)
	s.reportOperation(t)
	for _, name := range []string{"ErrorModel", "ErrorDetail"} { // huma's own, which no answer has
		delete(t.api.OpenAPI().Components.Schemas.Map(), name)
	}
	t.doc, _ = json.MarshalIndent(t.api.OpenAPI(), "", " ") // schemas marshal
	return t
}

func marshal(w io.Writer, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// failure is a Problem that huma sends.
type failure struct {
	problem.Problem
	header http.Header
}

func (f failure) GetStatus() int            { return f.Status }
func (f failure) GetHeaders() http.Header   { return f.header }
func (f failure) ContentType(string) string { return "application/problem+json" }

// tell logs the cause of what is not the client's fault: it sees none of it.
func (t *router) tell(ctx context.Context, o operation, err error) {
	if code := Code(problemOf(err).Code); code == Internal || code == StorageFailed {
		t.log.ErrorContext(ctx, "API operation failed", "operation", o.id, "code", string(code), "error", err)
	}
}

func fail(err error) error {
	f := failure{problemOf(err), http.Header{}}
	if f.RetryAfter > 0 {
		f.header.Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	return f
}

// documentProblem makes each error one of ours, without what the request had (specs
// X37).
func documentProblem(_ huma.Context, _ string, value any) (any, error) {
	switch e := value.(type) {
	case failure:
		return e.Document(), nil
	case *huma.ErrorModel:
		code := Invalid
		switch e.Status {
		case http.StatusBadRequest:
			code = Malformed
		case http.StatusRequestTimeout:
			code = TooSlow
		case http.StatusRequestEntityTooLarge:
			code = TooLarge
		case http.StatusUnsupportedMediaType:
			code = NotJSON
		case http.StatusInternalServerError:
			code = Internal
		}
		var words []string
		for _, one := range e.Errors {
			if one != nil && code == Invalid && len(words) < 5 {
				words = append(words, strings.TrimSpace(one.Location+" "+one.Message))
			}
		}
		p := problemOf(Refuse(code, strings.Join(words, "; "))).Document()
		p.Status = e.Status
		return p, nil
	}
	return value, nil
}

// add adds an operation. I is what huma reads of a request, O what it writes.
func add[I, O any](t *router, o operation, handle func(ctx context.Context, in *I) (*O, error)) {
	pattern := o.method + " " + o.path
	t.scopes[pattern] = o.scope
	codes := append([]Code{TokenNeeded, WrongToken, TokenExpired, TokenRevoked, NotPermitted, TokenUnchecked}, o.codes...)
	if body, ok := reflect.TypeFor[I]().FieldByName("Body"); ok && slices.Contains([]reflect.Kind{reflect.Struct, reflect.Pointer}, body.Type.Kind()) {
		codes = append(codes, Malformed, TooLarge, NotJSON, Invalid)
	} else if reflect.TypeFor[I]().NumField() > 0 && queries(reflect.TypeFor[I]()) {
		codes = append(codes, Invalid)
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	t.codes[o.id] = codes
	huma.Register(t.api, huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, Tags: []string{o.tag}, DefaultStatus: o.status,
		MaxBodyBytes: maxBody, BodyReadTimeout: bodyTime, Responses: t.responses(codes), RejectUnknownQueryParameters: false,
	}, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			t.tell(ctx, o, err)
			return nil, fail(err)
		}
		return out, nil
	})
}

// queries reports whether an input has parameters that can be wrong.
func queries(input reflect.Type) bool {
	for f := range input.Fields() {
		if f.Anonymous && queries(f.Type) || f.Tag.Get("query") != "" && f.Type.Kind() != reflect.String {
			return true
		}
	}
	return false
}

// responses describes the problems of an operation: one response a status, with its
// codes.
func (t *router) responses(codes []Code) map[string]*huma.Response {
	schema := t.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem.Document](), true, "Problem")
	all := map[string]*huma.Response{}
	for _, m := range Problems() {
		if !slices.Contains(codes, m.Code) {
			continue
		}
		status := strconv.Itoa(m.Status)
		if all[status] == nil {
			all[status] = &huma.Response{Content: map[string]*huma.MediaType{
				"application/problem+json": {Schema: schema, Examples: map[string]*huma.Example{}},
			}}
		}
		r := all[status]
		r.Description = strings.TrimPrefix(r.Description+", "+string(m.Code), ", ")
		r.Content["application/problem+json"].Examples[string(m.Code)] = &huma.Example{
			Summary: m.Title, Value: problemOf(Refuse(m.Code, "")).Document(),
		}
	}
	return all
}

// match returns the pattern of an operation, "" if there is none. Paths that the mux
// would redirect to a better form are none of ours.
func (t *router) match(r *http.Request, method string) string {
	if path.Clean(r.URL.Path) != r.URL.Path {
		return ""
	}
	if method != r.Method {
		other := *r
		other.Method = method
		r = &other
	}
	_, pattern := t.mux.Handler(r)
	return pattern
}

// allowed lists the methods that a path has.
func (t *router) allowed(r *http.Request) []string {
	var all []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if t.match(r, method) != "" {
			all = append(all, method)
		}
	}
	return all
}

// control answers everything below /v1/, to who may do that.
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	// Pages of other origins may use the API: what protects it is the token,
	// which no browser sends by itself (specs X9, X10).
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, Allow")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	pattern := s.router.match(r, r.Method)
	grant, err := s.admit(r, pattern)
	if err != nil {
		refuse(w, r, err)
		return
	}
	if pattern == "" {
		err := Refuse(NoResource, "")
		if methods := s.router.allowed(r); len(methods) > 0 {
			h.Set("Allow", strings.Join(methods, ", "))
			err = Refuse(MethodNotAllowed, "")
		}
		refuse(w, r, err)
		return
	}
	s.router.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), grantKey{}, grant)))
}

// admit says what the request may do: with the stream of its path, or with the API as a
// whole. Who publishes a stream may see what is wrong with it, and mark it.
func (s *Server) admit(r *http.Request, pattern string) (auth.Grant, error) {
	if stage, ok := strings.CutPrefix(r.URL.Path, "/v1/stages/"); ok {
		return s.admitStage(r, stage, s.router.scopes[pattern])
	}
	name, one := strings.CutPrefix(r.URL.Path, "/v1/streams/")
	if !one {
		name, one = strings.CutPrefix(r.URL.Path, "/v1/sources/")
	}
	name, _, _ = strings.Cut(name, "/")
	if !one || !stream.ValidName(name) {
		name = "" // whatever it is, nothing is found
	}
	kind, known := s.router.scopes[pattern]
	grant, err := s.auth.Decide(r.Context(), auth.Ask(r, auth.Admin, "api", name))
	if p, ok := errors.AsType[problem.Problem](err); ok && p.Status == http.StatusForbidden && name != "" && (kind == orPublisher || !known) {
		return s.auth.Decide(r.Context(), auth.Ask(r, auth.Publish, "api", name))
	}
	if err == nil && known && kind == wholeAdmin && !grant.Everything() {
		return auth.Grant{}, Refuse(NotPermitted, "this is for a token with the action admin for all streams: *")
	}
	return grant, err
}

// admitStage says what the request may do with a stage: with its program and with all
// its seats. A seat may see the stage.
func (s *Server) admitStage(r *http.Request, name string, kind scope) (auth.Grant, error) {
	name, _, _ = strings.Cut(name, "/")
	if !stream.ValidName(name) || strings.Contains(name, ".") {
		name = ""
	}
	grant, err := s.auth.Decide(r.Context(), auth.Ask(r, auth.Admin, "api", name))
	if err == nil && !stagedBy(grant, name) {
		return auth.Grant{}, Refuse(NotPermitted, "this is for a token with the action admin for the stage and its seats: NAME and NAME.*")
	}
	p, ok := errors.AsType[problem.Problem](err)
	if !ok || p.Status != http.StatusForbidden || kind != ofSeat || name == "" {
		return grant, err
	}
	seat, err2 := s.auth.Decide(r.Context(), auth.Ask(r, auth.Seat, "api", ""))
	if err2 == nil && strings.HasPrefix(seat.Chair(), name+".") && !s.auth.Revoked(seat, seat.Chair()) {
		return seat, nil
	}
	return auth.Grant{}, err
}

// stagedBy reports whether who asks may do everything with a stage.
func stagedBy(g auth.Grant, stage string) bool {
	if stage == "" {
		return true // whatever it is, nothing is found
	}
	return g.Covers(auth.Admin, auth.Pattern(stage)) && g.Covers(auth.Admin, auth.Pattern(stage+".*"))
}

// sees reports whether who asks may know of a stream; "" stands for what is of none.
func sees(g auth.Grant, name string) bool {
	if name == "" {
		return g.Everything()
	}
	return g.Permits(auth.Admin, name, time.Now()) == nil
}
