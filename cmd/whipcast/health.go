package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthTime is how long a gateway may take to say how it is.
const healthTime = 3 * time.Second

// runHealth asks a gateway on this machine whether it is ready, as container
// engines want it: they start a program and look at its exit code.
func runHealth(ctx context.Context, args []string, std stdio, environ []string) error {
	config, err := loadConfig("health", args, std, environ)
	if err != nil {
		return err
	}
	address, err := local(config.Admin.Address)
	if err != nil {
		return fmt.Errorf("ask for health: admin.address: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	// The gateway is on this machine: no proxy of the environment leads there.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask for health: %w; is the gateway running, with the same admin.address?", err)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if closed := response.Body.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the gateway is not ready: %s", strings.TrimSpace(string(text)))
	}
	_, err = fmt.Fprintln(std.out, strings.TrimSpace(string(text)))
	return err
}

// local returns where a program on this machine reaches an address that is
// listened at.
func local(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}
