# The project's commands. `make run` and `make test` are all a newcomer needs.
SWIFT ?= swift
CHECKED = --explicit-target-dependency-import-check error

.PHONY: run build test race bench lint format install clean
run:
	@scripts/run

build:
	@scripts/deps build
	$(SWIFT) build -c release --product kops-sidecar $(CHECKED)

test:
	@scripts/deps test
	@scripts/test-tools
	$(SWIFT) build --build-tests $(CHECKED)
	$(SWIFT) test --skip-build
	scripts/check-shipped

race:
	@scripts/deps test
	TSAN_OPTIONS="suppressions=$(CURDIR)/scripts/tsan.supp" $(SWIFT) test --sanitize=thread --scratch-path .build-race

bench:
	@scripts/deps test
	$(SWIFT) build -c release --product kops-sidecar
	scripts/bench
	scripts/bench-queries
	scripts/bench-start

lint:
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests

format:
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests

install:
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install

clean:
	rm -rf .build .build-race run data
