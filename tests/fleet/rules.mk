# Commands for fleets of processes with a shared cache.

FLEET_TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: fleet-programs test-fleet

# The static library holds the C program together: another build of the library in the
# same place does not change it.
fleet-programs: ## Build the programs of the fleet tests
	$(CARGO) build --quiet --workspace $(FEATURES)
	mkdir -p $(FLEET_TARGET)/fleet
	cc -std=c11 -Wall -Wextra -Werror -pedantic -g -O1 -I include \
		-o $(FLEET_TARGET)/fleet/worker_c tests/fleet/worker.c \
		$(FLEET_TARGET)/debug/liblayerfi_auth.a -pthread -lm -ldl
	ln -f $(FLEET_TARGET)/debug/fleet_worker $(FLEET_TARGET)/fleet/worker_rust
