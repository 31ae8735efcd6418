package main

import (
	"math/rand/v2"
	"time"
)

// catchup: a folder full of lines waits; from the start of the agent until the last line has come.
func (b *bench) catchup() error {
	m, err := readMeta(b.Root)
	if err != nil {
		return err
	}
	b.r.WrittenLines, b.r.Lines, b.r.Bytes = m.Lines, m.Lines, m.Bytes
	w := b.window()
	if err := b.start(); err != nil {
		return err
	}
	b.drain(m.Lines)
	b.closeWindow(w)
	b.quiet(2 * time.Second)
	return nil
}

// steady: lines at a fixed rate, one write(2) each; CPU in a window after the warm-up, then the exact set.
func (b *bench) steady() error {
	lines, err := newWriter(b.Root, b.Files, b.TextBytes)
	if err != nil {
		return err
	}
	defer lines.close()
	if err := lines.append(b.Files); err != nil { // no file is empty, as on a node that has run for a while
		return err
	}
	if err := b.start(); err != nil {
		return err
	}
	stop, written := make(chan struct{}), make(chan error, 1)
	go func() { written <- lines.run(b.RateLines, nil, stop) }()
	b.wait(seconds(b.WarmSeconds))
	w := b.window()
	lines0, bytes0 := lines.lines.Load(), lines.bytes.Load()
	var behind, looks float64
	for time.Since(w.at) < seconds(b.Seconds) && b.wait(100*time.Millisecond) {
		t := b.sink.counts()
		behind += float64(lines.lines.Load() - t.Lines)
		looks++
	}
	b.closeWindow(w)
	b.r.Lines, b.r.Bytes = lines.lines.Load()-lines0, lines.bytes.Load()-bytes0
	close(stop)
	if err := <-written; err != nil {
		return err
	}
	b.r.LagSeconds = behind / max(1, looks) / max(1, float64(b.r.Lines)/b.r.WallSeconds)
	b.r.WrittenLines = lines.lines.Load()
	b.drain(b.r.WrittenLines)
	b.quiet(2 * time.Second)
	return nil
}

// idle: many files of ten lines that nobody writes to; CPU in a window that starts when all is delivered and quiet.
func (b *bench) idle() error {
	m, err := generate(b.Root, b.Files, b.TextBytes, 0, 10)
	if err != nil {
		return err
	}
	b.r.WrittenLines, b.r.Lines, b.r.Bytes = m.Lines, m.Lines, m.Bytes
	if err := b.start(); err != nil {
		return err
	}
	b.drain(m.Lines)
	b.wait(seconds(b.WarmSeconds))
	w := b.window()
	b.wait(seconds(b.Seconds))
	b.closeWindow(w)
	return nil
}

// rest: no files at all; what the agent weighs before it does anything.
func (b *bench) rest() error {
	if _, err := openLogs(b.Root, 0); err != nil {
		return err
	}
	if err := b.start(); err != nil {
		return err
	}
	w := b.window()
	b.wait(seconds(b.Seconds))
	b.closeWindow(w)
	return nil
}

// sinkDown: a folder full of lines waits while the sink answers 503, then never answers, then refuses connections, each
// for a third of the time; memory is read at the end of that. Then the sink is well and everything must come.
func (b *bench) sinkDown() error {
	m, err := readMeta(b.Root)
	if err != nil {
		return err
	}
	b.r.WrittenLines, b.r.Lines, b.r.Bytes = m.Lines, m.Lines, m.Bytes
	third := seconds(b.Seconds / 3)
	b.sink.set(func(t *trouble) { t.status, t.times = 503, -1 })
	w := b.window()
	if err := b.start(); err != nil {
		return err
	}
	b.wait(third)
	b.sink.hang(true)
	b.wait(third)
	if err := b.sink.refuse(true); err != nil {
		return err
	}
	b.sink.set(func(t *trouble) { *t = trouble{} })
	b.wait(third)
	b.closeWindow(w)
	b.r.DownPeakRSSMiB = b.agent.peak
	if err := b.sink.refuse(false); err != nil {
		return err
	}
	b.drain(m.Lines)
	b.quiet(2 * time.Second)
	return nil
}

const (
	killAfterMax      = 1500 * time.Millisecond // after the first delivery of each life
	killAfterBurstMax = 400 * time.Millisecond  // likewise, while it is still catching up
	killSinkDelay     = 20 * time.Millisecond   // so that a kill finds requests without an answer
)

// killed: while lines come at a steady rate, and every second time with a backlog as well, the agent is killed with
// SIGKILL at a random moment and started again on the same data directory; the last life must deliver all.
func (b *bench) killed() error {
	lines, err := newWriter(b.Root, b.Files, b.TextBytes)
	if err != nil {
		return err
	}
	defer lines.close()
	b.sink.set(func(t *trouble) { t.delay = killSinkDelay })
	stop, written := make(chan struct{}), make(chan error, 1)
	bursts := make(chan int64, 1) // one goroutine writes, or lines of a file would mix
	go func() { written <- lines.run(b.RateLines, bursts, stop) }()
	w := b.window()
	for b.r.Kills < b.Kills && b.ctx.Err() == nil {
		after := killAfterMax
		if b.r.Kills%2 == 1 {
			after = killAfterBurstMax
			select {
			case bursts <- b.BurstMiB << 20:
			case <-b.ctx.Done():
			}
		}
		before := b.sink.counts()
		if err := b.start(); err != nil {
			return err
		}
		if !b.drain(before.Lines + 1) {
			break
		}
		if !b.wait(time.Duration(rand.Int64N(int64(after)))) {
			b.note("the agent ended before it was killed")
			break
		}
		b.agent.sample(0)
		at := time.Now()
		b.agent.kill()
		b.quiet(200 * time.Millisecond) // its last bytes may still lie in our sockets
		b.sink.killed(at)
		b.r.Kills++
	}
	if b.r.Kills < b.Kills {
		b.note("only %d of %d kills", b.r.Kills, b.Kills)
	} else if err := b.start(); err != nil {
		return err
	}
	b.wait(time.Second)
	close(stop)
	if err := <-written; err != nil {
		return err
	}
	b.r.WrittenLines, b.r.Lines, b.r.Bytes = lines.lines.Load(), lines.lines.Load(), lines.bytes.Load()
	b.drain(b.r.WrittenLines)
	b.closeWindow(w)
	b.quiet(3 * time.Second)
	return nil
}
