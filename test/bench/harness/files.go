package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// meta describes a generated folder; it lies in it as meta.json.
type meta struct {
	Files     int   `json:"files"`
	TextBytes int   `json:"textBytes"`
	Lines     int64 `json:"lines"`
	Bytes     int64 `json:"bytes"`
}

func readMeta(root string) (m meta, err error) {
	b, err := os.ReadFile(filepath.Join(root, "meta.json"))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	return m, err
}

// openLogs makes the log files of n pods below root, empty, each with its link, and opens them for appending.
func openLogs(root string, n int) ([]*os.File, error) {
	if n < 0 || n > filesMax {
		return nil, fmt.Errorf("%d files: 0 to %d can be told apart", n, filesMax)
	}
	for _, dir := range []string{podsDir(root), linksDir(root)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	logs := make([]*os.File, 0, n)
	for i := range n {
		path := logPath(root, i)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, err
		}
		logs = append(logs, f)
		if err := os.Symlink(path, linkPath(root, i)); err != nil && !os.IsExist(err) {
			return nil, err
		}
	}
	return logs, nil
}

// generate writes files full of lines: bytesTotal shared out evenly, or linesEach where that is not 0. The files are
// synced, so that the disk is quiet when the measuring starts.
func generate(root string, files, textBytes int, bytesTotal int64, linesEach int) (meta, error) {
	m := meta{Files: files, TextBytes: textBytes}
	logs, err := openLogs(root, files)
	if err != nil {
		return m, err
	}
	first := time.Now().Add(-time.Hour).UnixNano()
	for i, f := range logs {
		w := bufio.NewWriterSize(f, 1<<20)
		var line []byte
		var written int64
		for seq := 0; seq < linesPerFileMax; seq++ {
			if linesEach > 0 && seq >= linesEach || linesEach == 0 && written >= bytesTotal/int64(files) {
				break
			}
			line = appendLine(line[:0], i, seq, textBytes, first+int64(seq)*5_000)
			if _, err := w.Write(line); err != nil {
				return m, err
			}
			written += int64(len(line))
			m.Lines++
		}
		m.Bytes += written
		for _, step := range []func() error{w.Flush, f.Sync, f.Close} {
			if err := step(); err != nil {
				return m, err
			}
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return m, err
	}
	return m, os.WriteFile(filepath.Join(root, "meta.json"), b, 0o644)
}

// writer appends lines to the files in turn, one write(2) each, as a container runtime does.
type writer struct {
	logs         []*os.File
	textBytes    int
	next         int
	seq          []int
	buffer       []byte
	lines, bytes atomic.Int64
}

func newWriter(root string, files, textBytes int) (*writer, error) {
	logs, err := openLogs(root, files)
	return &writer{logs: logs, textBytes: textBytes, seq: make([]int, files)}, err
}

func (w *writer) append(n int) error {
	for ; n > 0; n-- {
		if err := w.write(w.next%len(w.logs), 1, time.Now().UnixNano()); err != nil {
			return err
		}
		w.next++
	}
	return nil
}

// burst appends about that many bytes in large writes: a backlog in an instant.
func (w *writer) burst(bytes int64) error {
	for end := w.bytes.Load() + bytes; w.bytes.Load() < end; w.next++ {
		if err := w.write(w.next%len(w.logs), 500, time.Now().UnixNano()); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) write(file, lines int, nanos int64) error {
	w.buffer = w.buffer[:0]
	for i := range lines {
		if w.seq[file] >= linesPerFileMax {
			return fmt.Errorf("file %d has %d lines, the most that can be told apart", file, w.seq[file])
		}
		w.buffer = appendLine(w.buffer, file, w.seq[file], w.textBytes, nanos+int64(i))
		w.seq[file]++
	}
	if _, err := w.logs[file].Write(w.buffer); err != nil {
		return err
	}
	w.lines.Add(int64(lines))
	w.bytes.Add(int64(len(w.buffer)))
	return nil
}

// run writes at a steady rate until stop is closed, waking every millisecond, and the bursts (bytes) that it is told.
func (w *writer) run(linesPerSecond int, bursts <-chan int64, stop <-chan struct{}) error {
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for done := int64(0); ; {
		select {
		case <-stop:
			return nil
		case bytes := <-bursts:
			if err := w.burst(bytes); err != nil {
				return err
			}
		case <-tick.C:
		}
		due := int64(time.Since(start).Seconds() * float64(linesPerSecond))
		if err := w.append(int(due - done)); err != nil {
			return err
		}
		done = due
	}
}

func (w *writer) close() {
	for _, f := range w.logs {
		f.Close()
	}
}
