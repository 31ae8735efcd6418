package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

const bodyBytesMax = 64 << 20

// sink takes pushes on any path and answers at once, or as its trouble says. Loki push requests in protobuf are checked
// entry by entry; bodies of any other format are searched for markers. Bodies may be snappy (Loki protobuf, or by
// Content-Encoding), gzip or zstd. A line counts as delivered before the answer goes out, and never when it is refused.
type sink struct {
	*deliveries
	textBytes int
	address   string // fixed by the first listen, so that refuse(false) opens the same port again
	server    *http.Server
	zstd      *zstd.Decoder
	buffers   sync.Pool

	troubleMu sync.Mutex
	trouble   trouble
}

// trouble is how the sink misbehaves.
type trouble struct {
	status     int // answered instead of taking the body; 0: none
	times      int // how many more requests get that status; -1: all
	retryAfter string
	delay      time.Duration // before each answer
	hang       chan struct{} // requests are read and never answered; closing it cuts their connections
}

type buffers struct {
	wire bytes.Buffer
	body []byte
}

type generationKey struct{}

func newSink(textBytes int) (*sink, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(bodyBytesMax))
	s := &sink{deliveries: newDeliveries(), textBytes: textBytes, address: "127.0.0.1:0", zstd: z}
	s.buffers.New = func() any { return &buffers{} }
	return s, err
}

// refuse(true) closes the port and all connections; refuse(false) opens it.
func (s *sink) refuse(on bool) error {
	if on {
		if s.server != nil {
			s.server.Close()
			s.server = nil
		}
		return nil
	}
	if s.server != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	s.server = &http.Server{Handler: s, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, generationKey{}, s.generation())
	}}
	go s.server.Serve(l)
	return nil
}

// set changes the trouble; a hang that ends cuts the connections that it held, with nothing taken from them.
func (s *sink) set(change func(t *trouble)) {
	s.troubleMu.Lock()
	defer s.troubleMu.Unlock()
	was := s.trouble.hang
	change(&s.trouble)
	if was != nil && s.trouble.hang == nil {
		close(was)
	}
}

// next gives the trouble that the next request meets.
func (s *sink) next() trouble {
	s.troubleMu.Lock()
	defer s.troubleMu.Unlock()
	t := s.trouble
	if t.status != 0 && t.times > 0 {
		if s.trouble.times--; s.trouble.times == 0 {
			s.trouble.status = 0
		}
	}
	return t
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b := s.buffers.Get().(*buffers)
	defer s.buffers.Put(b)
	b.wire.Reset()
	if r.ContentLength > bodyBytesMax {
		http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
		return
	}
	b.wire.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	if _, err := b.wire.ReadFrom(http.MaxBytesReader(w, r.Body, bodyBytesMax)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return // a health check
	}
	trouble := s.next()
	if trouble.hang != nil {
		s.add(func(t *totals) { t.Hung++ })
		select {
		case <-trouble.hang:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	index, ok := s.received(r.Context().Value(generationKey{}).(int), b.wire.Len())
	if !ok {
		http.Error(w, "the journal is full", http.StatusInsufficientStorage)
		return
	}
	status := http.StatusNoContent
	if trouble.status != 0 {
		s.add(func(t *totals) { t.Refused++ })
		status = trouble.status
		if trouble.retryAfter != "" {
			w.Header().Set("Retry-After", trouble.retryAfter)
		}
	} else if err := s.take(index, r, b); err != nil {
		s.add(func(t *totals) { t.Undecodable++ })
		http.Error(w, err.Error(), http.StatusBadRequest)
		s.answered(index, http.StatusBadRequest)
		return
	}
	time.Sleep(trouble.delay)
	w.WriteHeader(status)
	w.(http.Flusher).Flush()
	s.answered(index, status)
}

// take decompresses a body and notes its lines.
func (s *sink) take(index uint32, r *http.Request, b *buffers) (err error) {
	body := b.wire.Bytes()
	protobuf := strings.Contains(r.Header.Get("Content-Type"), "protobuf")
	loki := protobuf && strings.HasSuffix(r.URL.Path, "/loki/api/v1/push")
	encoding := r.Header.Get("Content-Encoding")
	switch {
	case encoding == "snappy" || encoding == "" && loki:
		if n, err := s2.DecodedLen(body); err != nil || n > bodyBytesMax {
			return s2.ErrCorrupt
		}
		body, err = s2.Decode(b.body[:cap(b.body)], body)
		b.body = body
	case encoding == "gzip":
		body, err = gunzip(b.body[:0], body)
		b.body = body
	case encoding == "zstd":
		body, err = s.zstd.DecodeAll(body, b.body[:0])
		b.body = body
	}
	if err != nil {
		return err
	}
	if loki {
		return s.scanLoki(index, body, s.textBytes)
	}
	s.scan(index, body)
	return nil
}

func gunzip(dst, src []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(src))
	if err != nil {
		return dst, err
	}
	out := bytes.NewBuffer(dst)
	n, err := out.ReadFrom(io.LimitReader(z, bodyBytesMax+1))
	if n > bodyBytesMax {
		return nil, http.ErrContentLength
	}
	return out.Bytes(), err
}

// number reads a query parameter; what is absent or no number gives the default.
func number(r *http.Request, name string, otherwise int) int {
	if n, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return n
	}
	return otherwise
}
