"""The OpenAPI document is consistent and says what the contract says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field

from receiver.http.problems import PROBLEMS
from receiver.openapi.document import document

METHODS = {"get", "put", "post", "delete"}

PATHS = {
    "/callbacks": {"get", "post"},
    "/callbacks/failure": {"post"},
    "/callbacks/progress": {"post"},
    "/callbacks/{token}": {"get", "post"},
    "/callbacks/{token}/failure": {"post"},
    "/approvals/{token}": {"get", "post"},
    "/webhooks/{source}": {"post"},
    "/webhooks/{source}/{token}": {"post"},
    "/workflows": {"get"},
    "/waits": {"get"},
    "/workflows/{name}": {"post"},
    "/workflows/{name}/{id}": {"get", "put", "delete"},
    "/workflows/{name}/{id}/callbacks/{callback}": {"post"},
    "/workflows/{name}/{id}/callbacks/{callback}/remind": {"post"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
    "/openapi.json": {"get"},
}


class Item(BaseModel):
    sku: str


class First(BaseModel):
    order_id: str = Field(description="The order.")
    items: list[Item]


class Second(BaseModel):
    items: dict[str, Item] = {}


@dataclass(frozen=True)
class Known:
    name: str
    summary: str
    request: type[BaseModel]


@pytest.fixture
def described() -> dict[str, Any]:
    return document([Known("second", "Does more.", Second), Known("first", "Ships an order.", First)])


def nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from nodes(part)

    if isinstance(value, list):
        for part in value:
            yield from nodes(part)


def operations(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    for path, item in described["paths"].items():
        for method in item.keys() & METHODS:
            yield path, item[method], [*item.get("parameters", []), *item[method].get("parameters", [])]


def test_the_routes_are_those_of_the_contract(described: dict[str, Any]) -> None:
    assert {path: item.keys() & METHODS for path, item in described["paths"].items()} == PATHS
    assert described["openapi"] == "3.1.0"


def test_it_is_json_and_nothing_is_shared_by_mistake(described: dict[str, Any]) -> None:
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert document([]) == document([])


def test_every_reference_leads_to_a_schema_and_every_schema_is_referred_to(described: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(described) if "$ref" in node}

    assert references == {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}


def test_every_parameter_of_a_path_is_declared_once_and_no_other(described: dict[str, Any]) -> None:
    for path, _, parameters in operations(described):
        declared = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]

        assert declared == re.findall(r"{(\w+)}", path)
        assert all(parameter["required"] for parameter in parameters if parameter["in"] == "path")
        assert len({(parameter["in"], parameter["name"].lower()) for parameter in parameters}) == len(parameters)


def test_every_operation_has_its_own_name_and_a_summary(described: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation, _ in operations(described)]

    assert len(names) == len(set(names)) == sum(len(methods) for methods in PATHS.values())
    assert all(operation["summary"] for _, operation, _ in operations(described))


def test_every_problem_appears_under_its_status(described: dict[str, Any]) -> None:
    seen = set()
    for _, operation, _ in operations(described):
        for status, answer in operation["responses"].items():
            kinds = [name for node in nodes(answer) for name in node.get("enum", []) if name.startswith("urn:")]
            # Responses to people are pages.
            assert bool(kinds) == (int(status) >= 400 and "text/html" not in answer["content"])
            for kind in kinds:
                name = kind.removeprefix("urn:countersign:")
                assert PROBLEMS[name][0] == int(status)
                seen.add(name)

    # A problem that belongs to no operation: there is no such method.
    assert set(PROBLEMS) - seen == {"method-not-allowed"}


def test_every_security_scheme_is_defined(described: dict[str, Any]) -> None:
    used = {name for _, operation, _ in operations(described) for need in operation["security"] for name in need}

    assert used == set(described["components"]["securitySchemes"])


def test_workflow_operations_need_a_key_and_callbacks_a_token(described: dict[str, Any]) -> None:
    for path, operation, _ in operations(described):
        if path.startswith("/workflows") or path in {"/metrics", "/waits"}:
            assert operation["security"] == [{"apiKey": []}]
        elif path == "/callbacks/progress":
            assert operation["security"] == [{"progressToken": []}]
        elif path.startswith("/callbacks") and "{token}" not in path:
            assert operation["security"] == [{"callbackToken": []}]
        else:
            assert operation["security"] == []


def test_a_callback_s_description_says_where_the_progress_token_is(described: dict[str, Any]) -> None:
    for path in ("/callbacks", "/callbacks/{token}"):
        assert "countersign-progress" in described["paths"][path]["get"]["responses"]["200"]["headers"]

    reported = described["paths"]["/callbacks/progress"]["post"]

    assert set(reported["responses"]) >= {"200", "400", "401", "404", "410", "413", "415", "429", "503"}
    assert "webhook-id" not in {parameter["name"] for parameter in reported.get("parameters", [])}


def test_the_links_of_a_start_lead_to_operations_on_the_started_workflow(described: dict[str, Any]) -> None:
    parameters = {operation["operationId"]: declared for _, operation, declared in operations(described)}

    for path, method in (("/workflows/{name}", "post"), ("/workflows/{name}/{id}", "put")):
        for status in ("200", "201"):
            response = described["paths"][path][method]["responses"][status]

            assert "Location" in response["headers"]
            for link in response["links"].values():
                declared = {each["name"] for each in parameters[link["operationId"]] if each["in"] == "path"}
                assert declared == link["parameters"].keys()


def test_each_workflow_s_input_is_its_model_s_schema(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    path = described["paths"]["/workflows/{name}/{id}"]

    assert path["put"]["requestBody"]["content"]["application/json"]["schema"] == {
        "anyOf": [{"$ref": "#/components/schemas/first.input"}, {"$ref": "#/components/schemas/second.input"}]
    }
    assert path["parameters"][0]["schema"]["enum"] == ["first", "second"]
    assert "`first`: Ships an order." in path["parameters"][0]["description"]
    assert schemas["first.input"]["properties"]["order_id"]["description"] == "The order."
    assert schemas["first.input"]["properties"]["items"]["items"] == {"$ref": "#/components/schemas/first.Item"}
    assert schemas["first.Item"] == schemas["second.Item"]
