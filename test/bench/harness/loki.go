package main

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// A strict walk through a Loki push request (Loki's push.proto): PushRequest{1: Stream}, Stream{1: labels, 2: Entry},
// Entry{1: Timestamp{1: seconds, 2: nanos}, 2: line, 3: structured metadata}. Anything malformed is an error.

var errProtobuf = errors.New("not a well-formed Loki push request")

// walkPush calls entry for every log entry, in the order of the body. The slices are only valid during the call.
func walkPush(body []byte, entry func(labels []byte, nanos int64, line []byte)) error {
	return eachField(body, func(field uint64, stream []byte, _ uint64) error {
		if field != 1 || stream == nil {
			return errProtobuf
		}
		labels, err := labelsOf(stream)
		if err != nil {
			return err
		}
		return eachField(stream, func(field uint64, message []byte, _ uint64) error {
			if field != 2 {
				return nil
			}
			nanos, line, err := parseEntry(message)
			if err == nil {
				entry(labels, nanos, line)
			}
			return err
		})
	})
}

var errFound = errors.New("found")

func labelsOf(stream []byte) (labels []byte, err error) {
	err = eachField(stream, func(field uint64, message []byte, _ uint64) error {
		if field == 1 {
			labels = message
			return errFound
		}
		return nil
	})
	if err != errFound || len(labels) < 2 || labels[0] != '{' || labels[len(labels)-1] != '}' {
		return nil, errProtobuf
	}
	return labels, nil
}

func parseEntry(entry []byte) (nanos int64, line []byte, err error) {
	err = eachField(entry, func(field uint64, message []byte, _ uint64) error {
		switch field {
		case 1:
			return eachField(message, func(field uint64, _ []byte, value uint64) error {
				switch field {
				case 1:
					nanos += int64(value) * 1_000_000_000
				case 2:
					nanos += int64(value)
				default:
					return errProtobuf
				}
				return nil
			})
		case 2:
			line = message
		case 3:
		default:
			return errProtobuf
		}
		return nil
	})
	return nanos, line, err
}

// eachField calls f for the fields of one message: with bytes for length-delimited ones, with the number for varints.
func eachField(b []byte, f func(field uint64, message []byte, value uint64) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return errProtobuf
		}
		b = b[n:]
		value, n := binary.Uvarint(b)
		if n <= 0 {
			return errProtobuf
		}
		b = b[n:]
		var message []byte
		switch tag & 7 {
		case 0:
		case 2:
			if value > uint64(len(b)) {
				return errProtobuf
			}
			message, b = b[:value:value], b[value:]
		default:
			return errProtobuf
		}
		if err := f(tag>>3, message, value); err != nil {
			return err
		}
	}
	return nil
}

var podLabel = []byte(`pod="app-`)

// fileOfLabels tells the file whose pod the labels name, or -1 when they name no pod.
func fileOfLabels(labels []byte) int {
	i := bytes.Index(labels, podLabel)
	if i < 0 || i+len(podLabel)+4 > len(labels) {
		return -1
	}
	file, ok := parseDigits(labels[i+len(podLabel) : i+len(podLabel)+4])
	if !ok {
		return -1
	}
	return int(file)
}
