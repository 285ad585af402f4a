// The page of an application: Layer's components with a token of layerfi-auth-react.
//
// The address sets what it shows: ?show=ProfitAndLoss,BankTransactions&strict&prop.
// Tests read and control it through `window.app`.

import { StrictMode, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { AccountingOverview, BankTransactions, ProfitAndLoss } from '@layerfi/components'
import '@layerfi/components/index.css'
import { createLayerTokenSource } from 'layerfi-auth-browser'
import { LayerAuthProvider, useLayerToken } from 'layerfi-auth-react'

const COMPONENTS = {
  AccountingOverview: () => <AccountingOverview />,
  BankTransactions: () => <BankTransactions />,
  ProfitAndLoss: () => (
    <ProfitAndLoss>
      <ProfitAndLoss.Summaries />
      <ProfitAndLoss.Chart />
      <ProfitAndLoss.Report />
    </ProfitAndLoss>
  ),
}

// What the page really sends, below the wrapper of the package: for each API call, the
// milliseconds that its token still lived, or NaN for a token that the backend has not given.
const sent = []
// When the page has asked the backend for a session, in milliseconds.
const asked = []
const deadlines = new Map()
const fetchOfBrowser = window.fetch
window.fetch = async (input, init) => {
  const at = performance.now()
  const [, token] = new Headers(init?.headers).get('authorization')?.split(' ') ?? []
  if (token) sent.push(deadlines.get(token) - at)
  if (input === '/layer-token') asked.push(at)
  app.open += 1
  const response = await fetchOfBrowser(input, init).finally(() => (app.open -= 1))
  if (input === '/layer-token' && response.ok) {
    const { access_token, expires_in } = await response.clone().json()
    if (!deadlines.has(access_token)) deadlines.set(access_token, at + expires_in * 1000)
  }
  return response
}

const query = new URLSearchParams(location.search)
const source = createLayerTokenSource('/layer-token')
const app = {
  source,
  signedOut: 0,
  errors: [],
  sent,
  asked,
  /** Requests that have no response yet. */
  open: 0,
  browserFetch: window.fetch,
  statuses: [],
  /** One call to the API like those of the components. Gives the status or the error's name. */
  call: async () => {
    const { session } = source.getSnapshot()
    const { environmentConfigOverride } = session.layer_provider_props
    const url = `${environmentConfigOverride.apiUrl}/v1/businesses/${session.business_id}`
    try {
      const headers = { authorization: `Bearer ${source.stableToken}` }
      return (await fetch(url, { headers })).status
    } catch (error) {
      return error.name
    }
  },
}
window.app = app

function Status() {
  const { status } = useLayerToken(source)
  if (app.statuses.at(-1) !== status) app.statuses.push(status)
  return <p id="status">{status}</p>
}

function App() {
  const [names, setNames] = useState(query.get('show')?.split(',') ?? [])
  app.show = setNames
  return (
    <>
      <Status />
      <LayerAuthProvider
        source={source}
        stableToken={!query.has('prop')}
        fallback={<p id="fallback">no session</p>}
        onError={(error) => app.errors.push(error.type)}
        onSignedOut={() => (app.signedOut += 1)}
      >
        <p id="page">page</p>
        {names.map((name) => (
          <section key={name} data-component={name}>
            {COMPONENTS[name]()}
          </section>
        ))}
      </LayerAuthProvider>
    </>
  )
}

const root = createRoot(document.getElementById('root'))
app.unmount = () => root.unmount()
root.render(
  query.has('strict') ? (
    <StrictMode>
      <App />
    </StrictMode>
  ) : (
    <App />
  ),
)
