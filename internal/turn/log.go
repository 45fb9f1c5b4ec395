package turn

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// quiet passes Pion's messages on as Debug, but for those about each packet.
type quiet struct{ log *slog.Logger }

func (q quiet) NewLogger(scope string) logging.LeveledLogger { return quiet{q.log.With("pion", scope)} }

func (q quiet) write(text string) { q.log.Debug("pion", "text", text) }

func (q quiet) writef(format string, args ...any) {
	if q.log.Enabled(context.Background(), slog.LevelDebug) {
		q.write(fmt.Sprintf(format, args...))
	}
}

func (q quiet) Trace(string)                      {}
func (q quiet) Tracef(string, ...any)             {}
func (q quiet) Debug(string)                      {}
func (q quiet) Debugf(string, ...any)             {}
func (q quiet) Info(text string)                  { q.write(text) }
func (q quiet) Infof(format string, args ...any)  { q.writef(format, args...) }
func (q quiet) Warn(text string)                  { q.write(text) }
func (q quiet) Warnf(format string, args ...any)  { q.writef(format, args...) }
func (q quiet) Error(text string)                 { q.write(text) }
func (q quiet) Errorf(format string, args ...any) { q.writef(format, args...) }
