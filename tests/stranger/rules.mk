# A stranger who follows the start pages of docs/start literally. It uses the wheel, the C
# library and the npm packages that the other tests have built.

.PHONY: stranger
TESTS_ALONE += stranger

stranger: setup python-dev-wheel c-debug-library $(JS)/build/.packed | browser-tools ## Follow each start page as a new user, and print the seconds to a token
	$(VENV_PYTHON) tests/stranger/follow.py --wheel $(WHEELS)/dev/*.whl \
		--target $(or $(CARGO_TARGET_DIR),target)/debug
