package main

import (
	"encoding/json"
	"net"
	"net/http"
	"time"
)

// control is the sink's other port, for tests and scenarios:
//
//	GET  /stats?containers=all     totals, and the containers in trouble (or all)
//	GET  /journal?last=1000        the last requests
//	POST /fail?status=503          all pushes get that answer; with &times=3 the next three; 0 ends it; &retryAfter=1
//	POST /delay?ms=20              before each answer; 0 ends it
//	POST /hang?on=1                bodies are read and never answered; on=0 ends it
//	POST /refuse?on=1              the port is closed; on=0 opens the same one
//	POST /killed                   the agent has just been killed
//	POST /reset                    end all trouble, forget lines and totals; the journal goes on
func control(s *sink) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		t, list := s.snapshot(r.URL.Query().Get("containers") != "all")
		reply(w, struct {
			totals
			RepeatedRequests int               `json:"repeatedRequests"`
			Containers       []containerTotals `json:"containers"`
		}{t, s.repeatedRequests(), list})
	})
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, r *http.Request) {
		reply(w, s.journal(number(r, "last", 1000)))
	})
	post := func(path string, f func(r *http.Request) error) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := f(r); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	post("/fail", func(r *http.Request) error {
		s.set(func(t *trouble) {
			t.status, t.times = number(r, "status", 503), number(r, "times", -1)
			t.retryAfter = r.URL.Query().Get("retryAfter")
		})
		return nil
	})
	post("/delay", func(r *http.Request) error {
		s.set(func(t *trouble) { t.delay = time.Duration(number(r, "ms", 0)) * time.Millisecond })
		return nil
	})
	post("/hang", func(r *http.Request) error { s.hang(number(r, "on", 1) == 1); return nil })
	post("/refuse", func(r *http.Request) error { return s.refuse(number(r, "on", 1) == 1) })
	post("/killed", func(*http.Request) error { s.killed(time.Now()); return nil })
	post("/reset", func(*http.Request) error {
		s.set(func(t *trouble) { *t = trouble{} })
		s.forget()
		return s.refuse(false)
	})
	return mux
}

func (s *sink) hang(on bool) {
	s.set(func(t *trouble) {
		if on && t.hang == nil {
			t.hang = make(chan struct{})
		} else if !on {
			t.hang = nil
		}
	})
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}

// listen serves a handler on a free loopback port and gives its URL.
func listen(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go http.Serve(l, h)
	return "http://" + l.Addr().String(), nil
}
