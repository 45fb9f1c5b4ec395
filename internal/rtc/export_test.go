package rtc

import "time"

// SetTimeouts shortens what otherwise takes 30 s.
func (e *Engine) SetTimeouts(disconnected, failed, keepalive time.Duration) {
	e.setting.SetICETimeouts(disconnected, failed, keepalive)
}
