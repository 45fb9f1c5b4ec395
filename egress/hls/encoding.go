package hls

import "strings"

// acceptsGzip reads Accept-Encoding header fields (RFC 9110 §12.5.3): gzip must
// be named with a weight that is not zero, or else be covered by * like that.
func acceptsGzip(fields []string) bool {
	wildcard := false
	for _, field := range fields {
		for more := true; more; {
			var item string
			item, field, more = strings.Cut(field, ",")
			coding, parameters, _ := strings.Cut(item, ";")
			coding = strings.TrimSpace(coding)
			if strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip") {
				return !zeroWeight(parameters)
			}
			if coding == "*" {
				wildcard = !zeroWeight(parameters)
			}
		}
	}
	return wildcard
}

// zeroWeight reports whether parameters are a weight of 0, 0., 0.0 and so on.
func zeroWeight(parameters string) bool {
	name, weight, _ := strings.Cut(strings.TrimSpace(parameters), "=")
	if !strings.EqualFold(strings.TrimSpace(name), "q") {
		return false
	}
	weight = strings.TrimSpace(weight)
	return strings.HasPrefix(weight, "0") && strings.Trim(weight, "0.") == ""
}
