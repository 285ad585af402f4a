//! How the body of a request is sent a second time.

/// Copies the body of a request before it is sent, so that the request can be sent once
/// more after a 401.
pub trait Replay<B>: Clone {
    /// Returns a copy, or `None` if this body cannot be sent again.
    fn copy(&self, body: &B) -> Option<B>;
}

/// Clones the body. For bodies in memory, such as `Full<Bytes>` and `Empty<Bytes>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneBody;

impl<B: Clone> Replay<B> for CloneBody {
    fn copy(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// Sends no request again.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

impl<B> Replay<B> for NoReplay {
    fn copy(&self, _: &B) -> Option<B> {
        None
    }
}

/// Copies the body with a function.
#[derive(Clone, Copy, Debug)]
pub struct ReplayWith<F>(pub(crate) F);

impl<B, F: Fn(&B) -> Option<B> + Clone> Replay<B> for ReplayWith<F> {
    fn copy(&self, body: &B) -> Option<B> {
        (self.0)(body)
    }
}
