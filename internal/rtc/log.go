package rtc

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// pionLog passes Pion's messages on as Debug: what matters of them ends a
// Session, and is logged there.
type pionLog struct {
	log   *slog.Logger
	scope string // of Pion's; each connection has a dozen
}

func (p pionLog) NewLogger(scope string) logging.LeveledLogger {
	return pionLog{p.log, scope}
}

func (p pionLog) write(text string) { p.log.Debug("pion", "pion", p.scope, "text", text) }

func (p pionLog) writef(format string, args ...any) {
	if p.log.Enabled(context.Background(), slog.LevelDebug) {
		p.write(fmt.Sprintf(format, args...))
	}
}

func (p pionLog) Trace(string)                      {}
func (p pionLog) Tracef(string, ...any)             {}
func (p pionLog) Debug(string)                      {}
func (p pionLog) Debugf(string, ...any)             {}
func (p pionLog) Info(text string)                  { p.write(text) }
func (p pionLog) Infof(format string, args ...any)  { p.writef(format, args...) }
func (p pionLog) Warn(text string)                  { p.write(text) }
func (p pionLog) Warnf(format string, args ...any)  { p.writef(format, args...) }
func (p pionLog) Error(text string)                 { p.write(text) }
func (p pionLog) Errorf(format string, args ...any) { p.writef(format, args...) }
