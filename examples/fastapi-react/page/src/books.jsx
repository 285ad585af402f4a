import { BankTransactions, ProfitAndLoss } from '@layerfi/components'
import '@layerfi/components/index.css'
import { createLayerTokenSource } from 'layerfi-auth-browser'
import { LayerAuthProvider, useLayerToken } from 'layerfi-auth-react'

// Once, outside of all components.
const layer = createLayerTokenSource('/layer-token')

// A new page, so that nothing of this user stays in memory.
const toSignIn = () => location.assign('/')

async function signOut() {
  await fetch('/sign-out', { method: 'POST' })
  toSignIn()
}

// A component of its own, because it renders again after each renewal.
function Connection() {
  const { status } = useLayerToken(layer)
  return status === 'expired' && <p role="status">No connection. The figures may be old.</p>
}

export function Books({ company }) {
  return (
    <>
      <header>
        <h1>{company}</h1>
        <Connection />
        <button onClick={signOut}>Sign out</button>
      </header>
      <main>
        <LayerAuthProvider source={layer} onSignedOut={toSignIn}>
          <ProfitAndLoss>
            <ProfitAndLoss.Summaries />
            <ProfitAndLoss.Chart />
          </ProfitAndLoss>
          <BankTransactions />
        </LayerAuthProvider>
      </main>
    </>
  )
}
