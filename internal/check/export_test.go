package check

// ParseSTUN is parseSTUN, to be fuzzed.
var ParseSTUN = parseSTUN
