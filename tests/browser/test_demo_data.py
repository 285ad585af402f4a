"""Layer's React components with the emulator's demo data, in Chromium."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from layerfi_auth.testing import BUSINESS_ID, Emulator

RENDER = Path(__file__).with_name("render.mjs")
# In seconds. render.mjs stops itself after 240 s; the first run also builds the page.
TIMEOUT = 270

# All exported components, but LandingPage, which shows only what its props contain.
COMPONENTS = [
    "AccountingOverview",
    "BalanceSheet",
    "BankTransactions",
    "BankTransactionsWithLinkedAccounts",
    "BookkeepingOverview",
    "ChartOfAccounts",
    "GeneralLedgerView",
    "Invoices",
    "Journal",
    "LinkedAccounts",
    "MileageSummaryCard",
    "MileageTracking",
    "ProfitAndLoss",
    "Reports",
    "SolopreneurOverview",
    "StatementOfCashFlow",
    "Tasks",
    "TaxEstimates",
    "TimeTracking",
    "UnifiedReports",
]


# Texts of the demo data, which it has on every day of the year. A component that cannot read a
# response shows an empty table or an error instead, and does not report it.
TEXTS = {
    "AccountingOverview": "Rent",
    "BalanceSheet": "Equipment",
    "BankTransactions": "Corner Bistro",
    "BankTransactionsWithLinkedAccounts": "Corner Bistro",
    "ChartOfAccounts": "Office supplies",
    "GeneralLedgerView": "Office supplies",
    "Invoices": "Harbor Dental Group",
    "Journal": "Business checking",
    "LinkedAccounts": "Business checking",
    "MileageTracking": "Harbor Dental Group",
    "ProfitAndLoss": "Rent",
    "StatementOfCashFlow": "Operating activities",
    "TimeTracking": "Brand design",
    "UnifiedReports": "Net profit",
}


def case(name, layer, texts):
    token = layer.client().business_token(BUSINESS_ID)
    return {
        "name": name,
        "props": token.layer_provider_props(),
        "components": COMPONENTS,
        "expect": "renders",
        "texts": texts,
    }


def test_every_component_renders_with_demo_data_and_without_data():
    with Emulator(rate_limit=None, demo_data=True) as demo, Emulator(rate_limit=None) as empty:
        done = subprocess.run(
            ["node", RENDER],
            input=json.dumps([case("demo data", demo, TEXTS), case("no data", empty, {})]),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        log = demo.log() + empty.log()
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    refused = {entry["path"]: entry["status"] for entry in log if entry["status"] >= 400}
    assert not refused, "the emulator must answer every request of the components"
    resources = {entry["resource"] for entry in log}
    assert len(resources) > 25, f"the components read only {resources}"
