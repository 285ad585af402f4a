"""An AWS Lambda function behind API Gateway: shows a user the profit of the user's business."""

import json

import requests
from layerfi_auth import Client, LayerAuthError
from layerfi_auth.auth import RequestsAuth

# Outside of the handler: one client for all invocations of this execution environment.
client = Client.from_env()
client.prepare()  # Gets the token in the background, while Lambda still initializes.


def handler(event, context):
    # From the authorizer, which knows who is signed in; never from what the page sent.
    business_id = event["requestContext"]["authorizer"]["lambda"]["businessId"]
    dates = event["queryStringParameters"]
    try:
        answer = requests.get(
            f"{client.api_url}/v1/businesses/{business_id}/reports/profit-and-loss",
            params={"start_date": dates["start_date"], "end_date": dates["end_date"]},
            auth=RequestsAuth(client),
            timeout=10,
        )
        answer.raise_for_status()
    except (LayerAuthError, requests.RequestException) as error:
        print(f"Layer did not answer: {error}")  # Goes to CloudWatch, and holds no secret.
        return response(503, {"error": "try again later"})
    return response(200, {"net_profit": answer.json()["data"]["net_profit"]})


def response(status, body):
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", "Cache-Control": "no-store"},
        "body": json.dumps(body),
    }
