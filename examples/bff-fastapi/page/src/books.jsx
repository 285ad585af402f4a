import { BankTransactions, LayerProvider, ProfitAndLoss } from '@layerfi/components'
import '@layerfi/components/index.css'

// A new page, so that nothing of this user stays in memory.
async function signOut() {
  await fetch('/sign-out', { method: 'POST' })
  location.assign('/')
}

// The address of the backend, which adds the token. The components know only the names of
// their own table, such as `sandbox`.
const throughBackend = { environment: 'sandbox', apiUrl: '/layer' }

export function Books({ company, businessId }) {
  return (
    <>
      <header>
        <h1>{company}</h1>
        <button onClick={signOut}>Sign out</button>
      </header>
      <main>
        <LayerProvider
          businessId={businessId}
          businessAccessToken="added-by-the-backend"
          environmentConfigOverride={throughBackend}
        >
          <ProfitAndLoss>
            <ProfitAndLoss.Summaries />
            <ProfitAndLoss.Chart />
          </ProfitAndLoss>
          <BankTransactions />
        </LayerProvider>
      </main>
    </>
  )
}
