//go:build tools

// Package tools pins the version of vlagent that the bench compares with.
package tools

import _ "github.com/VictoriaMetrics/VictoriaLogs/app/vlagent"
