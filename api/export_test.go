package api

// ParseBeacon is parseBeacon.
var ParseBeacon = parseBeacon
