//! The benches are in `benches/`; `make bench` runs them.
