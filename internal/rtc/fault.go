package rtc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrFault says that the gateway's own code failed, which ends this Session and no
// other one (specs X26). The log has where.
var ErrFault = errors.New("fault of the gateway: its log has the cause")

// guard makes a fault of f end the Session instead of the process.
func (x *Session) guard(f func()) func() {
	return func() {
		defer x.rescue()
		f()
	}
}

// rescue ends the Session when the function that deferred it panics.
func (x *Session) rescue() {
	if fault := recover(); fault != nil {
		x.log.Error("fault in a session: please report it", "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
		x.End(ErrFault)
	}
}

// Guard makes a fault of f, which serves many Sessions, be logged; then ends is called,
// which shall end them with ErrFault. f runs on a goroutine of the caller's.
func (g *Registry) Guard(f, ends func()) func() {
	return func() {
		defer func() {
			if fault := recover(); fault != nil {
				g.cfg.Logger.Error("fault in what serves sessions: please report it", "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
				ends()
			}
		}()
		f()
	}
}

// work is run, guarded.
func (x *Session) work(ctx context.Context, run func(ctx context.Context) error) (err error) {
	err = ErrFault
	x.guard(func() { err = run(ctx) })()
	return err
}
