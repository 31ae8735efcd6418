package main

import (
	"bytes"
	"sort"
	"sync"
	"time"
)

// deliveries is what the sink knows: every request with the moment its answer had gone out, and for every line which
// request brought it last. From these follow the exact set and the verdict on each duplicate.
//
// A kill of the agent ends a generation of connections. A request is **uncertain** when the kill that ended its
// generation came before its answer, or less than answerGrace after it: the agent may not have written down
// that it was accepted, so it may send those lines again. A duplicate is **allowed** when the request it repeats (or,
// where the dead agent's last bytes were read late, the repeating one) is uncertain; every other duplicate is not.
type deliveries struct {
	mu         sync.Mutex
	requests   []request
	kills      []time.Time // kills[g] ended generation g
	containers map[int]*container
	repeated   map[uint32]bool // the uncertain requests that were in fact sent again
	totals
}

const (
	answerGrace = 200 * time.Millisecond
	requestsMax = 1 << 22
)

type request struct {
	generation int
	receivedAt time.Time
	answeredAt time.Time // zero: no answer went out
	status     int
	lines      int
}

type totals struct {
	Lines             int64 `json:"lines"` // distinct ones
	Duplicated        int64 `json:"duplicated"`
	DuplicatedAllowed int64 `json:"duplicatedAllowed"`
	Reordered         int64 `json:"reordered"` // came after a later line of the same container and stream
	Damaged           int64 `json:"damaged"`   // text, time or pod is not what was written (Loki protobuf only)
	Unknown           int64 `json:"unknown"`   // entries of a Loki push without a marker of ours
	Requests          int64 `json:"requests"`
	Refused           int64 `json:"refused"`     // answered with an error because the sink was told to
	Hung              int64 `json:"hung"`        // read and never answered, likewise; not among the requests
	Undecodable       int64 `json:"undecodable"` // bodies that are not what their headers say
	WireBytes         int64 `json:"wireBytes"`   // of bodies, as sent
	BodyBytes         int64 `json:"bodyBytes"`   // of bodies, decompressed
}

type container struct {
	last   []uint32 // by line number: 1 + the index of the request that brought it last, 0 = not seen
	newest [2]int   // by stream: 1 + the highest line number seen
	containerTotals
}

type containerTotals struct {
	File       int   `json:"file"`
	Lines      int64 `json:"lines"`
	Highest    int   `json:"highest"`
	Missing    int64 `json:"missing"` // below the highest
	Duplicated int64 `json:"duplicated"`
	Reordered  int64 `json:"reordered"`
	Damaged    int64 `json:"damaged"`
}

func newDeliveries() *deliveries {
	return &deliveries{containers: map[int]*container{}, repeated: map[uint32]bool{}}
}

func (d *deliveries) generation() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.kills)
}

// killed says that the agent was killed at that moment; connections from now on belong to its successor.
func (d *deliveries) killed(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kills = append(d.kills, at)
}

// forget starts a new count; requests and kills stay, since answers may still be on their way.
func (d *deliveries) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.containers, d.repeated, d.totals = map[int]*container{}, map[uint32]bool{}, totals{}
}

// received notes a request with a whole body; answered says when its answer had been handed to the kernel.
func (d *deliveries) received(generation int, wireBytes int) (index uint32, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.requests) >= requestsMax {
		return 0, false
	}
	d.requests = append(d.requests, request{generation: generation, receivedAt: time.Now()})
	d.Requests++
	d.WireBytes += int64(wireBytes)
	return uint32(len(d.requests) - 1), true
}

func (d *deliveries) answered(index uint32, status int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests[index].answeredAt, d.requests[index].status = time.Now(), status
}

func (d *deliveries) add(f func(t *totals)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.totals)
}

// scan takes the lines of a body in any format, by their markers alone.
func (d *deliveries) scan(index uint32, body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.BodyBytes += int64(len(body))
	for {
		i := bytes.Index(body, []byte("zq"))
		if i < 0 {
			return
		}
		body = body[i:]
		if file, seq, ok := parseMarker(body); ok {
			d.line(index, file, seq, false)
			body = body[markerBytes:]
		} else {
			body = body[2:]
		}
	}
}

// scanLoki takes the entries of a Loki push request and compares each with what was written.
func (d *deliveries) scanLoki(index uint32, body []byte, textBytes int) error {
	if err := walkPush(body, func([]byte, int64, []byte) {}); err != nil {
		return err // all or nothing: a refused body must leave no trace
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.BodyBytes += int64(len(body))
	var made, lastLabels []byte
	pod := -1
	return walkPush(body, func(labels []byte, nanos int64, line []byte) {
		file, seq, wrote, ok := parseText(line)
		if !ok {
			d.Unknown++
			return
		}
		if len(lastLabels) == 0 || &labels[0] != &lastLabels[0] {
			lastLabels, pod = labels, fileOfLabels(labels)
		}
		made = appendText(made[:0], file, seq, textBytes, wrote)
		d.line(index, file, seq, nanos != wrote || pod >= 0 && pod != file || !bytes.Equal(made, line))
	})
}

func (d *deliveries) line(index uint32, file, seq int, damaged bool) {
	c := d.containers[file]
	if c == nil {
		c = &container{containerTotals: containerTotals{File: file}}
		d.containers[file] = c
	}
	if seq >= len(c.last) {
		c.last = append(c.last, make([]uint32, max(seq+1-len(c.last), 4096, len(c.last)/2))...)
	}
	d.requests[index].lines++
	if damaged {
		c.Damaged++
		d.Damaged++
	}
	if before := c.last[seq]; before != 0 {
		c.Duplicated++
		d.Duplicated++
		allowed, later := d.judge(before-1, index)
		if allowed {
			d.DuplicatedAllowed++
		}
		c.last[seq] = later + 1
		return
	}
	c.last[seq] = index + 1
	c.Lines++
	d.Lines++
	newest := &c.newest[streamOf(seq)]
	if seq < *newest {
		c.Reordered++
		d.Reordered++
	} else {
		*newest = seq + 1
	}
}

// judge tells whether two requests may have brought the same line, and which of them the agent sent later.
func (d *deliveries) judge(before, now uint32) (allowed bool, later uint32) {
	earlier, later := before, now
	if d.requests[before].generation > d.requests[now].generation {
		earlier, later = now, before // the dead agent's last bytes, read late
	}
	if d.requests[earlier].generation == d.requests[later].generation || !d.uncertain(earlier) {
		return false, later
	}
	d.repeated[earlier] = true
	return true, later
}

func (d *deliveries) uncertain(index uint32) bool {
	r := d.requests[index]
	if r.generation >= len(d.kills) {
		return false
	}
	return r.answeredAt.IsZero() || r.answeredAt.After(d.kills[r.generation].Add(-answerGrace))
}

func (d *deliveries) counts() totals {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.totals
}

// snapshot gives the totals and, where asked for, the containers: all of them, or those in trouble.
func (d *deliveries) snapshot(onlyTroubled bool) (totals, []containerTotals) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []containerTotals{}
	for _, c := range d.containers {
		t := c.containerTotals
		t.Highest = max(c.newest[0], c.newest[1]) - 1
		t.Missing = int64(t.Highest) + 1 - t.Lines
		if !onlyTroubled || t.Missing+t.Duplicated+t.Reordered+t.Damaged > 0 {
			list = append(list, t)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].File < list[j].File })
	return d.totals, list
}

// journalEntry is one request as GET /journal shows it; times are Unix milliseconds, 0 = no answer went out.
type journalEntry struct {
	Index      int     `json:"index"`
	Generation int     `json:"generation"`
	ReceivedAt float64 `json:"receivedAt"`
	AnsweredAt float64 `json:"answeredAt"`
	Status     int     `json:"status"`
	Lines      int     `json:"lines"`
	Uncertain  bool    `json:"uncertain"`
}

func (d *deliveries) journal(last int) []journalEntry {
	d.mu.Lock()
	defer d.mu.Unlock()
	from := max(0, len(d.requests)-last)
	list := make([]journalEntry, 0, len(d.requests)-from)
	for i, r := range d.requests[from:] {
		e := journalEntry{Index: from + i, Generation: r.generation, Status: r.status, Lines: r.lines,
			ReceivedAt: float64(r.receivedAt.UnixMicro()) / 1000, Uncertain: d.uncertain(uint32(from + i))}
		if !r.answeredAt.IsZero() {
			e.AnsweredAt = float64(r.answeredAt.UnixMicro()) / 1000
		}
		list = append(list, e)
	}
	return list
}

// repeatedRequests counts the uncertain requests whose lines came again.
func (d *deliveries) repeatedRequests() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.repeated)
}
