package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// spec is one run: a line of JSON on standard input.
type spec struct {
	Scenario     string   `json:"scenario"` // catchup, steady, idle, rest, sinkdown, kill
	Root         string   `json:"root"`     // holds pods/ and containers/, generated before where lines wait
	Command      []string `json:"command"`
	Env          []string `json:"env"`
	LogFile      string   `json:"logFile"`
	CPU          int      `json:"cpu"` // of the agent; -1: not pinned
	Files        int      `json:"files"`
	TextBytes    int      `json:"textBytes"`
	RateLines    int      `json:"rateLines"` // per second
	WarmSeconds  float64  `json:"warmSeconds"`
	Seconds      float64  `json:"seconds"`
	Kills        int      `json:"kills"`
	BurstMiB     int64    `json:"burstMiB"` // written at once before every second start of a kill run
	StallSeconds float64  `json:"stallSeconds"`
	LimitSeconds float64  `json:"limitSeconds"` // the whole run
}

// result is what a run found: a line of JSON on standard output.
type result struct {
	Scenario          string            `json:"scenario"`
	WrittenLines      int64             `json:"writtenLines"`
	Lines             int64             `json:"lines"` // in the measured window, as are bytes, wall and CPU time
	Bytes             int64             `json:"bytes"`
	WallSeconds       float64           `json:"wallSeconds"`
	CPUSeconds        float64           `json:"cpuSeconds"`
	HarnessCPUSeconds float64           `json:"harnessCpuSeconds"`
	OtherCores        float64           `json:"otherCores"` // used by neither agent nor harness in the window
	PeakRSSMiB        float64           `json:"peakRssMiB"`
	RSSMiB            float64           `json:"rssMiB"`         // at the end of the window
	DownPeakRSSMiB    float64           `json:"downPeakRssMiB"` // while the sink was down
	FirstLineSeconds  float64           `json:"firstLineSeconds"`
	LagSeconds        float64           `json:"lagSeconds"` // mean of lines not yet delivered, by the rate
	Lost              int64             `json:"lost"`
	Set               totals            `json:"set"`
	RepeatedRequests  int               `json:"repeatedRequests"`
	Kills             int               `json:"kills"`
	Troubled          []containerTotals `json:"troubled"` // at most 10
	Notes             []string          `json:"notes"`
	LogTail           string            `json:"logTail"` // the end of the agent's output when something is noted
}

// bench is one run in progress.
type bench struct {
	spec
	ctx     context.Context
	sink    *sink
	agent   *agent
	started time.Time
	r       result
}

var scenarios = map[string]func(*bench) error{
	"catchup": (*bench).catchup, "steady": (*bench).steady, "idle": (*bench).idle,
	"rest": (*bench).rest, "sinkdown": (*bench).sinkDown, "kill": (*bench).killed,
}

func (s spec) run(ctx context.Context, k *sink) (result, error) {
	scenario, ok := scenarios[s.Scenario]
	if !ok || len(s.Command) == 0 {
		return result{}, fmt.Errorf("no such scenario or no command: %q", s.Scenario)
	}
	ctx, cancel := context.WithTimeout(ctx, seconds(s.LimitSeconds))
	defer cancel()
	b := &bench{spec: s, ctx: ctx, sink: k, r: result{Scenario: s.Scenario, Notes: []string{}}}
	k.set(func(t *trouble) { *t = trouble{} })
	k.forget()
	err := scenario(b)
	if b.agent != nil {
		b.agent.sample(0)
		if ctx.Err() != nil {
			b.agent.kill()
		} else if said := b.agent.stop(15 * time.Second); said != "" {
			b.note("%s", said)
		}
		b.r.PeakRSSMiB = max(b.r.PeakRSSMiB, b.agent.peak)
	}
	b.r.Set, b.r.Troubled = k.snapshot(true)
	b.r.Troubled = b.r.Troubled[:min(10, len(b.r.Troubled))]
	b.r.RepeatedRequests = k.repeatedRequests()
	b.r.Lost = b.r.WrittenLines - b.r.Set.Lines
	if len(b.r.Notes) > 0 || b.r.Lost != 0 {
		b.r.LogTail = tail(s.LogFile, 4096)
	}
	return b.r, err
}

func (b *bench) note(format string, values ...any) {
	b.r.Notes = append(b.r.Notes, fmt.Sprintf(format, values...))
}

func (b *bench) start() (err error) {
	if b.agent != nil {
		b.r.PeakRSSMiB = max(b.r.PeakRSSMiB, b.agent.peak)
	}
	b.agent, err = startAgent(b.CPU, b.LogFile, b.Env, b.Command)
	if b.started.IsZero() {
		b.started = time.Now()
	}
	return err
}

// wait sleeps, looking at the agent from time to time; false when it has ended or time is up.
func (b *bench) wait(d time.Duration) bool {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if left <= 0 {
			return true
		}
		select {
		case <-b.agent.done:
			return false
		case <-b.ctx.Done():
			return false
		case <-time.After(min(left, 100*time.Millisecond)):
			b.agent.sample(2 * time.Second)
		}
	}
}

// drain waits until that many distinct lines have come. It gives up, with a note, when nothing comes for the stall
// time, when the agent ends and when time is up.
func (b *bench) drain(lines int64) bool {
	moved, movedAt, sampledAt := int64(-1), time.Now(), time.Time{}
	for {
		t := b.sink.counts()
		if t.Lines > 0 && b.r.FirstLineSeconds == 0 {
			b.r.FirstLineSeconds = time.Since(b.started).Seconds()
		}
		if t.Lines >= lines {
			return true
		}
		if t.Lines+t.Duplicated != moved {
			moved, movedAt = t.Lines+t.Duplicated, time.Now()
		}
		switch {
		case time.Since(movedAt) > seconds(b.StallSeconds):
			b.note("nothing came for %.0f s, %d of %d lines delivered", b.StallSeconds, t.Lines, lines)
		case b.agent.ended():
			b.note("the agent ended by itself: %v", b.agent.cmd.ProcessState)
		case b.ctx.Err() != nil:
			b.note("out of time, %d of %d lines delivered", t.Lines, lines)
		default:
			if time.Since(sampledAt) > 100*time.Millisecond {
				b.agent.sample(2 * time.Second)
				sampledAt = time.Now()
			}
			time.Sleep(4 * time.Millisecond)
			continue
		}
		return false
	}
}

// quiet waits until nothing has come for that long (late repeats), at most 20 s.
func (b *bench) quiet(d time.Duration) {
	last, at := int64(-1), time.Now()
	for end := at.Add(20 * time.Second); time.Since(at) < d && time.Now().Before(end) && b.ctx.Err() == nil; {
		t := b.sink.counts()
		if t.Requests != last {
			last, at = t.Requests, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// window measures time and CPU from its making to close.
type window struct {
	at                    time.Time
	agent, harness, whole float64
}

func (b *bench) window() window {
	cpu := 0.0
	if b.agent != nil {
		cpu, _ = b.agent.sample(0)
	}
	return window{time.Now(), cpu, ownCPU(), machineCPU()}
}

func (b *bench) closeWindow(w window) {
	cpu, rss := b.agent.sample(0)
	b.r.WallSeconds, b.r.CPUSeconds, b.r.RSSMiB = time.Since(w.at).Seconds(), cpu-w.agent, rss
	b.r.HarnessCPUSeconds = ownCPU() - w.harness
	b.r.OtherCores = max(0, machineCPU()-w.whole-b.r.CPUSeconds-b.r.HarnessCPUSeconds) / b.r.WallSeconds
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func tail(path string, bytes int) string {
	b, _ := os.ReadFile(filepath.Clean(path))
	return strings.TrimSpace(string(b[max(0, len(b)-bytes):]))
}
