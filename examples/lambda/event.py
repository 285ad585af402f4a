"""An event of API Gateway, as far as the handler reads it."""

EVENT = {
    "requestContext": {
        "authorizer": {"lambda": {"businessId": "3fa85f64-5717-4562-b3fc-2c963f66afa6"}}
    },
    "queryStringParameters": {"start_date": "2026-01-01", "end_date": "2026-01-31"},
}
