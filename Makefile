# The project's commands. `make run` and `make test` are all a newcomer needs.
SWIFT ?= swift
SWIFTFLAGS = --explicit-target-dependency-import-check error -Xswiftc -warnings-as-errors

.PHONY: build test lint format clean
build:
	$(SWIFT) build -c release --product kops-sidecar

test:
	$(SWIFT) test --explicit-target-dependency-import-check error

lint:
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests

format:
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests

clean:
	rm -rf .build
