//! Public constants: the default client and a business id for examples.

/// The id of the client that exists if the builder sets no client.
pub const DEFAULT_CLIENT_ID: &str = "emulator-client-id";
/// The secret of [`DEFAULT_CLIENT_ID`]. It is public and works only with the
/// emulator.
pub const DEFAULT_CLIENT_SECRET: &str = "emulator-client-secret-not-a-secret";
/// A business id for examples. It belongs to the default client unless
/// [`EmulatorBuilder::business`](crate::EmulatorBuilder::business) sets other
/// businesses.
pub const DEMO_BUSINESS_ID: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
