//! Pseudo-random numbers for long tests.

/// Xorshift generator: the same seed gives the same numbers. The seed must not
/// be zero.
pub struct Random(pub u64);

impl Random {
    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Returns the numbers below `bound` in random order.
    pub fn shuffled(&mut self, bound: u64) -> Vec<u64> {
        let mut numbers: Vec<u64> = (0..bound).collect();
        for index in (1..numbers.len()).rev() {
            numbers.swap(index, self.below(index as u64 + 1) as usize);
        }
        numbers
    }
}
