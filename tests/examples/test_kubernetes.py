"""examples/kubernetes: the manifests, and a secret that is rotated under load."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections import Counter
from pathlib import Path, PurePosixPath

import kubernetes_validate
import pytest
import yaml
from redis_server import RedisServer

from conftest import EXAMPLES, ROOT, command, eventually
from layerfi_auth.testing import BUSINESS_ID, CLIENT_ID

FOLDER = EXAMPLES / "kubernetes"
MANIFESTS = sorted((FOLDER / "manifests").glob("*.yaml"))
KUBERNETES = "1.31"


def resource(kind):
    every = [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]
    found = [one for one in every if one["kind"] == kind]
    assert len(found) == 1, f"{len(found)} resources of the kind {kind}"
    return found[0]


def pod():
    return resource("Deployment")["spec"]["template"]["spec"]


def container():
    return pod()["containers"][0]


def variables():
    return {one["name"]: one for one in container()["env"]}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifest_is_valid_for_kubernetes(path):
    for one in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_manifest_sets_variables_that_exist():
    source = (ROOT / "core/src/setting_names.rs").read_text()
    known = set(re.findall(r'"(LAYER_\w+)', source))
    assert len(known) >= 10, "the list of settings was not found"
    assert set(variables()) <= known, set(variables()) - known


def test_manifest_mounts_the_secret_where_the_client_reads_it():
    file = PurePosixPath(variables()["LAYER_CLIENT_SECRET_FILE"]["value"])
    mount = next(
        one for one in container()["volumeMounts"] if one["mountPath"] == str(file.parent)
    )
    assert "subPath" not in mount, "kubelet does not update a file that is mounted with subPath"
    assert mount["readOnly"]
    volume = next(one for one in pod()["volumes"] if one["name"] == mount["name"])["secret"]
    secret = resource("Secret")
    assert volume["secretName"] == secret["metadata"]["name"]
    assert file.name in secret["stringData"]
    # Root owns the files. The user of the pod reads them as a member of fsGroup.
    assert volume["defaultMode"] == 0o440
    assert pod()["securityContext"]["fsGroup"] == pod()["securityContext"]["runAsGroup"]


def test_manifest_has_probes_limits_and_no_rights():
    labels = resource("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert resource("Service")["spec"]["selector"] == labels
    assert pod()["securityContext"]["runAsNonRoot"]
    assert not pod()["automountServiceAccountToken"]
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container()["resources"]["limits"]) == {"cpu", "memory"}
    ports = {one["name"]: one["containerPort"] for one in container()["ports"]}
    image = (FOLDER / "Dockerfile").read_text()
    assert f"USER {pod()['securityContext']['runAsUser']}" in image
    assert image_command()[image_command().index("--port") + 1] == str(ports["http"])
    for probe in ("startupProbe", "readinessProbe"):
        assert container()[probe]["httpGet"] == {"path": "/health", "port": "http"}


def image_command():
    line = re.search(r"^CMD (.*)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    return json.loads(line[1])


class SecretVolume:
    """A mounted secret, which is updated as kubelet does: by renaming a symbolic link."""

    def __init__(self, folder: Path, key: str, value: str) -> None:
        self._folder, self._key, self._updates = folder, key, 0
        folder.mkdir()
        self.update(value)
        (folder / key).symlink_to(Path("..data", key))

    def update(self, value: str) -> None:
        self._updates += 1
        written = self._folder / f"..2026_11_27_10_00_{self._updates:02}.123456789"
        written.mkdir()
        (written / self._key).write_text(value)
        data, new = self._folder / "..data", self._folder / "..data_tmp"
        old = data.resolve() if data.is_symlink() else None
        new.symlink_to(written.name)
        new.rename(data)
        if old is not None:
            (old / self._key).unlink()
            old.rmdir()


class Load:
    """Threads that call the service all the time, and count the statuses of its answers."""

    def __init__(self, service) -> None:
        self.statuses: Counter[int] = Counter()
        self._service, self._stopped, self._lock = service, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def _run(self):
        while not self._stopped.is_set():
            try:
                status = self._service.get(f"/businesses/{BUSINESS_ID}").status
            except OSError:
                status = 0
            with self._lock:
                self.statuses[status] += 1

    def go_on(self, calls=40):
        """Wait for more answers."""
        enough = self.statuses.total() + calls
        eventually(lambda: self.statuses.total() >= enough, lambda: f"only {self.statuses}")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def start(run_example, volume_folder, **more):
    file = PurePosixPath(variables()["LAYER_CLIENT_SECRET_FILE"]["value"])
    secret = {
        "LAYER_CLIENT_SECRET": "",
        "LAYER_CLIENT_SECRET_FILE": f"{volume_folder}/{file.name}",
    }
    # The image's command, on loopback and on a free port.
    line = shlex.join(image_command()).replace("--host 0.0.0.0 --port 8080", "")
    service = run_example("kubernetes", line, {**secret, **more})
    service.wait_until_up("/health")
    return service


def test_secret_that_is_rotated_under_load_fails_no_call(layer, run_example, tmp_path):
    file = PurePosixPath(variables()["LAYER_CLIENT_SECRET_FILE"]["value"])
    first = layer.env()["LAYER_CLIENT_SECRET"]
    volume = SecretVolume(tmp_path / "layer", file.name, first)
    service = start(run_example, tmp_path / "layer")
    with Load(service) as load:
        load.go_on()
        assert layer.count("token") == 1
        # As the README says: both secrets are valid, then the file changes, then the old ends.
        layer.rotate(CLIENT_ID, "the-second-secret", keep_old=True)
        load.go_on()
        volume.update("the-second-secret\n")
        load.go_on()
        layer.rotate(CLIENT_ID, "the-second-secret")
        assert layer.count("token") == 1, "a new secret needs no new token"
        layer.revoke_all("access")
        load.go_on()
        assert layer.count("token") == 2
        # In a hurry: the old secret ends at once, and the file changes later.
        layer.rotate(CLIENT_ID, "the-third-secret")
        load.go_on()
        volume.update("the-third-secret")
        layer.revoke_all("access")
        load.go_on()
    assert set(load.statuses) == {200}, f"calls failed: {load.statuses}"
    assert layer.count("token") == 3, f"{layer.count('token')} token requests, not three"
    assert layer.counters()["endpoints"]["token"]["by_status"] == {"200": 3}
    for secret in (first, "the-second-secret", "the-third-secret"):
        assert secret not in service.output()


def test_b30_pods_with_the_shared_cache_send_one_token_request(layer, run_example, tmp_path):
    assert variables()["LAYER_SHARED_CACHE"]["valueFrom"]["secretKeyRef"]["optional"]
    SecretVolume(tmp_path / "layer", "client-secret", layer.env()["LAYER_CLIENT_SECRET"])
    path = f"/businesses/{BUSINESS_ID}"
    with RedisServer(tmp_path / "store", kind="valkey") as store, store.client() as keys:
        for _ in range(2):
            pod = start(run_example, tmp_path / "layer", LAYER_SHARED_CACHE=store.url)
            assert pod.get(path).status == 200
            eventually(lambda: keys.dbsize() > 0, lambda: "no token was stored")
    assert layer.count("business") == 2
    assert layer.count("token") == 1, f"{layer.count('token')} token requests, not one"


def test_failure_of_layer_is_502_and_leaves_the_pod_ready(layer, run_example, tmp_path):
    SecretVolume(tmp_path / "layer", "client-secret", layer.env()["LAYER_CLIENT_SECRET"])
    layer.fault("business", status=500, times="forever")
    service = start(run_example, tmp_path / "layer")
    path = f"/businesses/{BUSINESS_ID}"
    assert service.get(path).status == 502
    assert service.get("/health").status == 200
    assert service.get("/businesses/not-a-uuid").status == 422
    layer.clear_faults()
    assert service.get(path).json()["id"] == BUSINESS_ID


def test_readme_starts_the_same_program_as_the_image():
    program = command("kubernetes", "uvicorn").split()[:2]
    assert image_command()[:2] == program
