//! Chance, for tests that run long: the same from the same seed.

/// Not zero, or it stays there.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// The numbers below `sides`, each once.
    pub fn shuffle(&mut self, sides: u64) -> Vec<u64> {
        let mut deck: Vec<u64> = (0..sides).collect();
        for place in (1..deck.len()).rev() {
            deck.swap(place, self.roll(place as u64 + 1) as usize);
        }
        deck
    }
}
