package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// raw is the limit that every row of the bench stands beside: it reads the files and POSTs their bytes, whole lines, up
// to 1 MiB a request, one request at a time. It parses nothing, keeps no state and looks at each file every 200 ms.
func raw(args []string) error {
	flags := flag.NewFlagSet("raw", flag.ExitOnError)
	pods := flags.String("pods", "", "folder laid out as /var/log/pods")
	url := flags.String("sink", "", "where to POST")
	flags.Parse(args)

	type log struct {
		file   *os.File
		offset int64
	}
	var logs []*log
	known := map[string]bool{}
	buffer := make([]byte, 1<<20)
	var scannedAt time.Time
	for {
		if time.Since(scannedAt) > 5*time.Second {
			paths, _ := filepath.Glob(filepath.Join(*pods, "*", "*", "*.log"))
			for _, path := range paths {
				if !known[path] {
					f, err := os.Open(path)
					if err != nil {
						return err
					}
					known[path], logs = true, append(logs, &log{file: f})
				}
			}
			scannedAt = time.Now()
		}
		sent, filled := false, 0
		var taken []func()
		for _, l := range logs {
			for full := true; full; {
				n, err := l.file.ReadAt(buffer[filled:], l.offset)
				if err != nil && err != io.EOF {
					return err
				}
				full = filled+n == len(buffer)
				n = bytes.LastIndexByte(buffer[filled:filled+n], '\n') + 1
				if n > 0 {
					at := l.offset + int64(n)
					filled, taken = filled+n, append(taken, func() { l.offset = at })
				}
				if full {
					push(*url, buffer[:filled])
					for _, settle := range taken {
						settle()
					}
					sent, filled, taken = true, 0, nil
				}
			}
		}
		if filled > 0 {
			push(*url, buffer[:filled])
			for _, settle := range taken {
				settle()
			}
		}
		if !sent {
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// push repeats until the sink has taken the body.
func push(url string, body []byte) {
	for {
		response, err := http.Post(url, "application/octet-stream", bytes.NewReader(body))
		if err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode < 300 {
				return
			}
			err = fmt.Errorf("%s", response.Status)
		}
		fmt.Fprintln(os.Stderr, "raw:", err)
		time.Sleep(500 * time.Millisecond)
	}
}
