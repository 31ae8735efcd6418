// The bench's Go half: it makes log lines, receives and checks them, and runs and measures one agent at a time.
//
//	harness serve [--cpu N] [--text-bytes N]
//	        sink, control port and fake Kubernetes API until standard input ends. The first line on standard output
//	        gives their addresses; then each line of JSON on standard input is a run (spec), answered by a line (result)
//	harness generate --root DIR --files N (--mib N | --lines N) [--text-bytes N]
//	        log files full of lines; says what it wrote
//	harness write --root DIR --files N --rate N [--text-bytes N]
//	        a line of JSON when it begins; at the end of standard input it ends and says what it wrote
//	harness raw --pods DIR --sink URL
//	        the raw limit
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

const specBytesMax = 1 << 20

func main() {
	commands := map[string]func([]string) error{
		"serve": serve, "generate": generateCommand, "write": writeCommand, "raw": raw,
	}
	var err error
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		err = fmt.Errorf("one of serve, generate, write, raw; see the head of main.go")
	} else {
		err = commands[os.Args[1]](os.Args[2:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	cpu := flags.Int("cpu", -1, "pin the harness to this CPU")
	textBytes := flags.Int("text-bytes", 200, "mean length of the texts that will come")
	flags.Parse(args)
	if err := pinSelf(*cpu); err != nil {
		return err
	}
	debug.SetGCPercent(400)
	s, err := newSink(*textBytes)
	if err != nil {
		return err
	}
	if err := s.refuse(false); err != nil {
		return err
	}
	kube := &kubeAPI{}
	addresses := map[string]string{"sink": "http://" + s.address}
	if addresses["control"], err = listen(control(s)); err != nil {
		return err
	}
	if addresses["kube"], err = listen(kube.handler()); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(addresses); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	for line := range inputLines(cancel) {
		var run spec
		if err := json.Unmarshal(line, &run); err != nil {
			return err
		}
		kube.pods.Store(int64(run.Files))
		r, err := run.run(ctx, s)
		if err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// inputLines gives the lines of standard input. Its end, which is also our parent's, cancels a run in progress.
func inputLines(cancel func()) <-chan []byte {
	lines := make(chan []byte)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		in.Buffer(nil, specBytesMax)
		for in.Scan() {
			lines <- append([]byte(nil), in.Bytes()...)
		}
		cancel()
		close(lines)
	}()
	return lines
}

func generateCommand(args []string) error {
	flags := flag.NewFlagSet("generate", flag.ExitOnError)
	root, files := flags.String("root", "", "where pods/ and containers/ go"), flags.Int("files", 10, "log files")
	mib, lines := flags.Int64("mib", 0, "in all files"), flags.Int("lines", 0, "in each file")
	textBytes := flags.Int("text-bytes", 200, "mean length of the texts")
	flags.Parse(args)
	m, err := generate(*root, *files, *textBytes, *mib<<20, *lines)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

func writeCommand(args []string) error {
	flags := flag.NewFlagSet("write", flag.ExitOnError)
	root, files := flags.String("root", "", "where pods/ and containers/ go"), flags.Int("files", 10, "log files")
	rate := flags.Int("rate", 1000, "lines per second")
	textBytes := flags.Int("text-bytes", 200, "mean length of the texts")
	flags.Parse(args)
	w, err := newWriter(*root, *files, *textBytes)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(meta{Files: *files, TextBytes: *textBytes}); err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(stop) }()
	if err := w.run(*rate, nil, stop); err != nil {
		return err
	}
	return out.Encode(meta{*files, *textBytes, w.lines.Load(), w.bytes.Load()})
}
