//! Which token is added to requests.

use http::HeaderValue;
use layerfi_auth::{AccessToken, BusinessId, BusinessToken, BusinessTokenOptions, Client, Result};

/// Where the token of a request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    client: Client,
    /// `None` for the access token.
    business: Option<(BusinessId, BusinessTokenOptions)>,
}

#[derive(PartialEq)]
pub(crate) enum Token {
    Access(AccessToken),
    Business(BusinessToken),
}

impl Token {
    pub(crate) fn authorization(&self) -> HeaderValue {
        match self {
            Self::Access(token) => token.authorization().clone(),
            Self::Business(token) => token.authorization().clone(),
        }
    }
}

impl Source {
    pub(crate) fn new(
        client: Client,
        business: Option<(BusinessId, BusinessTokenOptions)>,
    ) -> Self {
        Self { client, business }
    }

    pub(crate) fn api_url(&self) -> &str {
        self.client.api_url()
    }

    pub(crate) async fn token(&self) -> Result<Token> {
        match &self.business {
            None => self.client.token().await.map(Token::Access),
            Some((business, options)) => {
                let token = self.client.business_token_with(business, *options).await;
                token.map(Token::Business)
            }
        }
    }

    /// Returns another token than the one that a server refused. `None` if the client
    /// gives no other, so that the 401 is final.
    pub(crate) async fn renew(&self, refused: &Token) -> Result<Option<Token>> {
        let fresh = match (refused, &self.business) {
            (Token::Access(token), _) => self.client.renew_token(token).await.map(Token::Access)?,
            (Token::Business(token), Some((business, options))) => {
                let renewed = self
                    .client
                    .renew_business_token(business, *options, token.secret());
                renewed.await.map(Token::Business)?
            }
            (Token::Business(_), None) => return Ok(None),
        };
        Ok(Some(fresh).filter(|fresh| fresh != refused))
    }

    /// Removes a token that a server refused from the cache.
    pub(crate) fn invalidate(&self, refused: &Token) {
        match refused {
            Token::Access(token) => self.client.invalidate(token),
            Token::Business(token) => self.client.invalidate_business_token(token),
        };
    }
}
