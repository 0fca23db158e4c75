import json
import re
import shutil
import subprocess
from importlib.resources import files

import jsonschema
import pytest
import yaml

import config
from tests.deploy.files import ROOT, assert_is_a_command, flask_commands, settings_in

FOLDER = ROOT / "deploy/compose"
APPS = ("app1", "app2", "app3")
SECRETS = {"SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD", "CERTIFICATE"}
CONNECTIONS = 97  # PostgreSQL's max_connections of 100, without the 3 that it reserves
WORKERS = int(re.search(r"^workers = (\d+)", (ROOT / "gunicorn.conf.py").read_text("utf-8"), re.MULTILINE)[1])
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:\?|:-)?([^}]*)\}")


@pytest.fixture(scope="module")
def text():
    return (FOLDER / "compose.yaml").read_text("utf-8")


@pytest.fixture(scope="module")
def composed(text):
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def services(composed):
    return composed["services"]


@pytest.fixture
def engine_name() -> str:
    """Nothing here depends on the engine."""
    return "sqlite"


@pytest.fixture(scope="module")
def schema():
    """The schema that the Compose project publishes (Apache-2.0), as the package check-jsonschema brings it."""
    published = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text("utf-8"))
    return jsonschema.validators.validator_for(published)(published)


def test_it_is_as_the_published_schema_says(composed, schema):
    assert [f"{error.json_path}: {error.message}" for error in schema.iter_errors(composed)] == []


@pytest.mark.parametrize("wrong", [{"port": ["80:80"]}, {"depends_on": {"database": {"condition": "ready"}}}, {"image": 3}])
def test_the_schema_refuses_what_is_wrong(composed, schema, wrong):
    composed = composed | {"services": {"app1": composed["services"]["app1"] | wrong}}
    assert list(schema.iter_errors(composed))


def test_only_the_balancer_can_be_reached(composed, services):
    assert {name for name, service in services.items() if "ports" in service} == {"haproxy"}
    assert not any("network_mode" in service for service in services.values())
    assert composed["networks"]["back"]["internal"] is True
    assert services["haproxy"]["networks"] == ["front"]
    for name in ("database", "redis", "migrate"):
        assert services[name]["networks"] == ["back"]


def test_no_secret_has_a_value_here(text, composed, services):
    """What is not given stops the start: `:?` is for what is unset and for what is empty."""
    asked = {name for name, operator, _ in VARIABLE.findall(text) if operator == ":?"}
    assert asked == SECRETS
    assert {name for name, operator, _ in VARIABLE.findall(text) if operator != ":?"} == {"VERSION"}
    assert settings_in(FOLDER / "environment.example") == dict.fromkeys(SECRETS, "")
    assert composed["secrets"]["database_password"] == {"environment": "DATABASE_PASSWORD"}
    assert services["database"]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database_password"
    for name in ("SECRET_KEY", "PASSWORD"):
        for line in text.splitlines():
            if name in line and re.match(r"\s+\w+: ", line):
                assert "${" in line or "_FILE:" in line or "environment:" in line, line


def test_the_files_with_secrets_are_not_kept_in_git():
    ignored = (FOLDER / ".gitignore").read_text("utf-8").split()
    assert ".env" in ignored and "*.pem" in ignored


def test_the_application_starts_with_these_settings(services, monkeypatch, tmp_path):
    given = {"SECRET_KEY": "x" * 48, "DATABASE_PASSWORD": "ab12", "REDIS_PASSWORD": "cd34"}
    for name in APPS:
        for variable, value in services[name]["environment"].items():
            monkeypatch.setenv(variable, VARIABLE.sub(lambda found: given[found[1]], value))
        settings = config.load(environment="production", instance_path=tmp_path)
        assert settings.trusted_proxies == 1 and settings.redis_url == "redis://:cd34@redis:6379/0"
        assert settings.database_url == "postgresql://codyverse:ab12@database:5432/codyverse"
        assert len(APPS) * (WORKERS + 1) * settings.database_pool_size <= CONNECTIONS  # one is there while one is replaced


def test_one_service_migrates_before_any_serves(services, app):
    for name in (*APPS, "haproxy"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"
    commands = list(flask_commands(services["migrate"]["command"][-1]))
    assert [words[:2] for words in commands] == [["db", "upgrade"], ["content", "import"], ["deploy", "haproxy"]]
    for words in commands:
        assert_is_a_command(app, words)


def test_the_balancer_gets_a_configuration_that_it_accepts(services, app, tmp_path):
    words = list(flask_commands(services["migrate"]["command"][-1]))[-1]
    output = words.index("--output") + 1
    assert words[output] in services["haproxy"]["command"]
    certificate = tmp_path / "site.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", certificate, "-out"]
    subprocess.run([*make, tmp_path / "cert.pem"], check=True, capture_output=True, timeout=60)
    certificate.write_bytes((tmp_path / "cert.pem").read_bytes() + certificate.read_bytes())
    words[output] = str(tmp_path / "haproxy.cfg")
    words[words.index("--certificate") + 1] = str(certificate)
    told = app.test_cli_runner().invoke(args=words)
    assert told.exit_code == 0, told.output
    written = (tmp_path / "haproxy.cfg").read_text("utf-8")
    servers = re.findall(r"^\s+server \S+ (\w+):8000 check ", written, re.MULTILINE)
    assert sorted(servers) == sorted(APPS)
    assert "resolvers dns" in written, "a container that is made anew has another address"
    inside = {published.split(":")[1] for published in services["haproxy"]["ports"]}
    assert inside == set(re.findall(r"^\s+bind \*:(\d+)", written, re.MULTILINE))
    (socket,) = re.findall(r"stats socket (\S+)/\S+ ", written)
    assert any(mount.startswith(f"{socket}:") for mount in services["haproxy"]["tmpfs"])
    if shutil.which("haproxy"):
        checked = subprocess.run(
            ["haproxy", "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, timeout=60, check=False
        )
        assert checked.returncode == 0, checked.stderr


def test_what_serves_is_watched_and_cannot_write_its_root(services):
    health = "HEALTHCHECK" in (ROOT / "Dockerfile").read_text("utf-8")
    for name, service in services.items():
        assert health if "build" in service else service["healthcheck"]["test"][0] == "CMD", name
        assert "no-new-privileges:true" in service["security_opt"]
        if name != "database":  # its image takes its folder over as root, and then another account
            assert service["read_only"] is True and service["cap_drop"] == ["ALL"]


def test_images_are_pinned(services):
    for service in services.values():
        assert "build" in service or re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z]+", service["image"]), service["image"]


def test_what_several_mount_is_one_folder_of_the_image(composed, services):
    image = (ROOT / "Dockerfile").read_text("utf-8")
    for service in services.values():
        for mount in service.get("volumes", ()):
            volume, folder, *_ = mount.split(":")
            assert volume in composed["volumes"]
            if "build" in service:  # a new volume has the owner of the folder that it covers
                assert re.search(rf"install -d -o codyverse .* {folder}\b", image), folder
