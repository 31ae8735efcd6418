module tailrace.dev/bench/harness

go 1.26

require github.com/klauspost/compress v1.18.0
