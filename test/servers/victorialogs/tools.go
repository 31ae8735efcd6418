//go:build tools

// Package tools pins the version of VictoriaLogs that tests run against.
package tools

import _ "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs"
