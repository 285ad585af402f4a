"""Puts a task for each business into the queue: python send.py START END BUSINESS..."""

import sys

from tasks import read_profit

start_date, end_date, *businesses = sys.argv[1:]
for business_id in businesses:
    read_profit.delay(business_id, start_date, end_date)
print(f"{len(businesses)} tasks sent")
