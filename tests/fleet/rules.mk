# Commands for fleets of processes with a shared cache.

FLEET_PROGRAMS = $(or $(CARGO_TARGET_DIR),target)/fleet

.PHONY: fleet-programs test-fleet setup-redis demo-fleet fleet-simulation
# Not in parallel with others: the tests of ffi build a C library in the same place, and
# fifty processes are enough for a machine.
TESTS_ALONE += test-fleet

fleet-programs: test-programs ## Build the processes of the fleet tests in Rust and C
	mkdir -p $(FLEET_PROGRAMS)
	$(CC) -std=c11 -Wall -Wextra -Werror -pedantic -g -O1 -I include \
		-o $(FLEET_PROGRAMS)/worker_c tests/fleet/worker.c \
		$(FLEET_PROGRAMS)/../debug/liblayerfi_auth.a -pthread -lm -ldl
	ln -f $(FLEET_PROGRAMS)/../debug/fleet_worker $(FLEET_PROGRAMS)/worker_rust

test-fleet: setup python-dev-wheel fleet-programs ## Test fleets of 50 processes with Redis and Valkey
	$(VENV_PYTHON) -m pytest -p no:cacheprovider -n 4 tests/python/test_fleet.py

setup-redis:
	@scripts/setup redis-server

demo-fleet: setup-redis python-dev-wheel fleet-programs ## Run 50 processes against the emulator, with and without a shared cache
	@$(VENV_PYTHON) scripts/demo-fleet

# Runs on a test clock: its figures do not depend on the machine.
fleet-simulation: setup venv ## Simulate 10,000 processes and write docs/fleet-simulation.md
	$(CARGO) build --quiet --profile $(PROFILE) --package layerfi-auth \
		--example fleet_simulation --features blocking,redis,test-util
	$(BUILT)/examples/fleet_simulation > $(BUILT)/fleet-simulation.json
	mv $(BUILT)/fleet-simulation.json docs/fleet-simulation.json
	scripts/fleet-simulation
