package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"time"
)

// The lines of the bench. Each text carries a marker that names its file and its number in that file,
// so that the sink can tell lost, repeated and reordered lines apart in any wire format, and the
// nanoseconds of its CRI time, so that it can also tell a damaged line from a good one:
//
//	level=info component=http id=zq0007x000000123 ns=1764000000000000000 trace=<24 hex> took_us=01234 <words>
//	{"level":"info","component":"http","id":"zq0007x000000124","ns":1764000000000000000,"trace":"…","msg":"…"}
//
// Marker and digits are plain ASCII, which no encoding escapes.

const (
	markerBytes     = 16
	filesMax        = 10_000     // what four digits can name
	linesPerFileMax = 50_000_000 // bounds the sink's memory: 4 bytes a line
	textSpread      = 30         // text lengths lie within ± this of the mean
	namespace       = "bench"
	containerName   = "main"
)

var words = []byte("worker picked the next order from the queue, checked stock in warehouse north, reserved three " +
	"items, asked billing for a quote and answered the caller before the deadline; retries none, cache hit, region " +
	"eu-1, build 4711, shard nine of twelve, customer tier standard, follow-up mail scheduled for tomorrow at eight ")

func podName(file int) string     { return fmt.Sprintf("app-%04d-7d9c5b8f4-x%04d", file, file) }
func podUID(file int) string      { return fmt.Sprintf("00000000-0000-4000-8000-%012d", file) }
func containerID(file int) string { return fmt.Sprintf("%064x", 0x5eed0000+file) }

// podsDir is laid out as /var/log/pods, linksDir as /var/log/containers.
func podsDir(root string) string  { return filepath.Join(root, "pods") }
func linksDir(root string) string { return filepath.Join(root, "containers") }

func logPath(root string, file int) string {
	return filepath.Join(podsDir(root), namespace+"_"+podName(file)+"_"+podUID(file), containerName, "0.log")
}

func linkPath(root string, file int) string {
	name := podName(file) + "_" + namespace + "_" + containerName + "-" + containerID(file) + ".log"
	return filepath.Join(linksDir(root), name)
}

// streamOf tells which stream a line of that number is written to: 0 stdout, 1 stderr (one line in 16).
func streamOf(seq int) int {
	if seq%16 == 7 {
		return 1
	}
	return 0
}

// appendLine appends one CRI line whose text has textBytes bytes on average.
func appendLine(dst []byte, file, seq, textBytes int, nanos int64) []byte {
	dst = time.Unix(0, nanos).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z")
	if streamOf(seq) == 1 {
		dst = append(dst, " stderr F "...)
	} else {
		dst = append(dst, " stdout F "...)
	}
	return append(appendText(dst, file, seq, textBytes, nanos), '\n')
}

// appendText appends the text of a line: a pure function of its arguments, so that the sink can make it again.
func appendText(dst []byte, file, seq, textBytes int, nanos int64) []byte {
	start := len(dst)
	want := textBytes + seq*37%(2*textSpread+1) - textSpread
	random := scramble(uint64(file)<<40 | uint64(seq))
	more := scramble(random)
	level := [8]string{"info", "info", "info", "info", "info", "info", "warn", "error"}[random>>61]
	tookUs := int(more >> 40 & 0xffff)
	if seq%2 == 0 {
		dst = append(append(append(dst, "level="...), level...), " component=http id="...)
		dst = appendMarker(dst, file, seq)
		dst = appendDigits(append(dst, " ns="...), nanos, 19)
		dst = appendHex(appendHex(append(dst, " trace="...), random, 16), more, 8)
		dst = appendDigits(append(dst, " took_us="...), int64(tookUs), 5)
		return appendWords(append(dst, ' '), seq, want-(len(dst)+1-start))
	}
	dst = append(append(append(dst, `{"level":"`...), level...), `","component":"http","id":"`...)
	dst = appendMarker(dst, file, seq)
	dst = appendDigits(append(dst, `","ns":`...), nanos, 19)
	dst = appendHex(appendHex(append(dst, `,"trace":"`...), random, 16), more, 8)
	dst = appendDigits(append(dst, `","took_us":1`...), int64(tookUs), 5)
	dst = append(dst, `,"msg":"`...)
	return append(appendWords(dst, seq, want-(len(dst)+2-start)), `"}`...)
}

func appendWords(dst []byte, seq, n int) []byte {
	if n <= 0 {
		return dst
	}
	from := seq * 13 % 60
	return append(dst, words[from:min(from+n, len(words))]...)
}

func appendMarker(dst []byte, file, seq int) []byte {
	dst = appendDigits(append(dst, "zq"...), int64(file), 4)
	return appendDigits(append(dst, 'x'), int64(seq), 9)
}

// parseMarker reads the marker that starts at b[0].
func parseMarker(b []byte) (file, seq int, ok bool) {
	if len(b) < markerBytes || b[0] != 'z' || b[1] != 'q' || b[6] != 'x' {
		return 0, 0, false
	}
	f, okFile := parseDigits(b[2:6])
	s, okSeq := parseDigits(b[7:markerBytes])
	return int(f), int(s), okFile && okSeq && s < linesPerFileMax
}

// parseText finds the marker and the nanoseconds in one whole text.
func parseText(text []byte) (file, seq int, nanos int64, ok bool) {
	i := bytes.Index(text, []byte("zq"))
	if i < 0 {
		return 0, 0, 0, false
	}
	if file, seq, ok = parseMarker(text[i:]); !ok {
		return 0, 0, 0, false
	}
	at := i + markerBytes + len(" ns=")
	if seq%2 == 1 {
		at = i + markerBytes + len(`","ns":`)
	}
	if at+19 <= len(text) {
		nanos, _ = parseDigits(text[at : at+19])
	}
	return file, seq, nanos, true
}

func parseDigits(b []byte) (int64, bool) {
	var v int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	return v, true
}

// appendDigits appends v with exactly width decimal digits.
func appendDigits(dst []byte, v int64, width int) []byte {
	n := len(dst)
	dst = append(dst, "0000000000000000000"[:width]...)
	for i := n + width - 1; v > 0 && i >= n; i-- {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}

func appendHex(dst []byte, v uint64, digits int) []byte {
	for i := range digits {
		dst = append(dst, "0123456789abcdef"[v>>(4*i)&15])
	}
	return dst
}

// scramble spreads a counter over 64 bits (the finaliser of SplitMix64), so that lines do not compress away.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
