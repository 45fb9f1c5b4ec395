# make help prints the targets.
SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

GO      ?= go
LINT    := $(GO) tool -modfile=tools/go.mod golangci-lint
PAGES   := web/dist/.built
CLI     := bin/whipcast
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# goaac_simd: the AAC encoder's SIMD kernels (AVX2 or NEON where the processor has
# them; no cgo, the same bytes). noaac leaves the AAC encoder out.
TAGS    ?= goaac_simd
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# Debian packages that the tests use: a real browser, real players and publishers, caches, a WebDAV
# server (nginx's own module) and a TURN server, and who judges the systemd unit and the
# metrics (promtool comes with the server, which is not started).
PROGRAMS := systemd-analyze promtool chromium ffmpeg vlc gst-launch-1.0 whip-client varnishd nginx turnserver
PACKAGES := systemd prometheus chromium ffmpeg vlc-bin vlc-plugin-base varnish nginx coturn \
            gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav gstreamer1.0-rtsp \
            simple-whip-client gstreamer1.0-nice python3-gi gir1.2-gst-plugins-bad-1.0
FUZZTIME ?= 5s

# Every go command here and in the tests builds the same code. What the caller sets wins.
export GOFLAGS := $(strip -tags=$(TAGS) $(GOFLAGS))

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: build ## build everything, start the gateway with a test source, print every link
	$(CLI) demo $(ARGS)

.PHONY: build
build: $(PAGES) ## bin/whipcast, one static binary with the pages inside
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(CLI) ./cmd/whipcast

$(PAGES): web/package-lock.json web/node_modules/.installed $(shell find web/src -type f 2>/dev/null) web/build.mjs
	cd web && npm run --silent build
	touch dist/.built

web/node_modules/.installed: web/package-lock.json
	cd web && npm ci --no-audit --no-fund --loglevel=error
	touch node_modules/.installed

.PHONY: deps
deps: ## install the programs that the tests use (Debian, apt)
	@for p in $(PROGRAMS); do PATH=$$PATH:/usr/sbin command -v $$p >/dev/null || missing="$${missing-} $$p"; done
	gst-inspect-1.0 rtspclientsink >/dev/null 2>&1 || missing="$${missing-} rtspclientsink"
	/usr/bin/python3 -c 'import gi; gi.require_version("GstWebRTC", "1.0")' >/dev/null 2>&1 || missing="$${missing-} webrtcbin"
	if [ -n "$${missing-}" ]; then
		echo "installing what$$missing need"
		$(SUDO) apt-get update -qq
		# Varnish, nginx, coturn and Prometheus are services, too: they are not started here.
		$(SUDO) env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null
	fi

.PHONY: test
test: deps build vet lint pages unit traces e2e ## everything CI runs

.PHONY: pages
pages: $(PAGES) ## tests of the pages' scripts
	cd web && npm --silent test

.PHONY: vet
vet:
	$(GO) vet ./...

# The linter's cache stays in the checkout: it keeps absolute paths, and what it
# remembers of another checkout is reported here as found there.
.PHONY: lint
lint: ## golangci-lint with the project's rules
	GOLANGCI_LINT_CACHE=$(CURDIR)/.cache/golangci-lint $(LINT) run ./...

.PHONY: unit
unit: $(PAGES) ## all Go tests but the end-to-end ones
	$(GO) test -race -shuffle=on -timeout 10m $$($(GO) list ./... | grep -v /internal/e2e)

.PHONY: traces
traces: $(PAGES) ## what only a build with the tag otel has
	GOFLAGS= $(GO) vet -tags=$(TAGS),otel ./cmd/whipcast
	GOFLAGS= $(GO) test -tags=$(TAGS),otel -count=1 -timeout 5m -run 'Trace|Routes' ./cmd/whipcast

.PHONY: e2e
e2e: deps build ## the real program with real clients
	$(GO) test -race -timeout 60m ./internal/e2e/...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 5s)
	@for pkg in $$($(GO) list ./...); do
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do
			echo "$$pkg $$target"
			# The fuzzing engine itself may miss its deadline at the end of the time; that is no finding.
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg 2>&1 | tee fuzz.out ||
				{ grep -q 'context deadline exceeded' fuzz.out && ! grep -q 'Failing input' fuzz.out; }
		done
	done

.PHONY: docs
docs: ## docs/configuration.md, from the code
	UPDATE_DOCS=1 go test ./configs -count=1 -run '^TestConfiguration$$'

.PHONY: bench
bench: ## all benchmarks, with allocations; COUNT=6 for benchstat
	$(GO) test -run '^$$' -bench . -benchmem -count $${COUNT:-1} ./... | tee bench.out

RELEASES := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

.PHONY: release
release: $(PAGES) ## dist/: binaries for all platforms, checksums, lists of what is in them (SBOM)
	rm -rf dist && mkdir -p dist
	for platform in $(RELEASES); do
		name=whipcast-$(VERSION)-$${platform%/*}-$${platform#*/}
		echo "$$name"
		mkdir dist/$$name
		CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o dist/$$name/whipcast ./cmd/whipcast
		cp LICENSE NOTICE README.md CHANGELOG.md configs/whipcast.yaml deploy/systemd/whipcast.service dist/$$name/
		tar -C dist --sort=name --mtime=@$$(git log -1 --format=%ct 2>/dev/null || echo 0) --owner=0 --group=0 --numeric-owner -czf dist/$$name.tar.gz $$name
		rm -r dist/$$name
	done
	echo "whipcast-$(VERSION).cdx.json"
	tar -C dist -xzf dist/whipcast-$(VERSION)-linux-amd64.tar.gz
	$(GO) tool -modfile=tools/release/go.mod cyclonedx-gomod bin -json -licenses -version $(VERSION) -output dist/whipcast-$(VERSION).cdx.json dist/whipcast-$(VERSION)-linux-amd64/whipcast
	rm -r dist/whipcast-$(VERSION)-linux-amd64
	cd web && npm sbom --sbom-format cyclonedx --package-lock-only > ../dist/whipcast-$(VERSION)-pages.cdx.json
	cd ../dist && sha256sum *.tar.gz *.json > SHA256SUMS

.PHONY: vulncheck
vulncheck: ## known vulnerabilities in what is used; asks vuln.go.dev
	GOFLAGS= $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.1.4 -tags $(TAGS) ./...

.PHONY: clean
clean: ## remove what was built
	find web/dist -mindepth 1 ! -name .gitkeep -delete
	rm -rf bin dist .cache web/node_modules internal/e2e/browser/node_modules bench.out fuzz.out
