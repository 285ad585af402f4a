"""The project's routes. A real project has the sync or the async ones."""

from django.contrib.auth.views import LoginView
from django.urls import path
from layerfi_auth.django import layer_token_view

from shop import views
from shop.layer import client, current_business, current_business_async

urlpatterns = [
    path("", views.home),
    path("accounts/login/", LoginView.as_view()),
    path("health", views.health),
    # The page asks these for its session for Layer's components, with POST.
    path("layer-token", layer_token_view(client, business_id=current_business)),
    path("async/layer-token", layer_token_view(client, business_id=current_business_async)),
    path("business", views.business),
    path("async/business", views.business_async),
]
