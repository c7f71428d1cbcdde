//! The description of the interface: made from the table of endpoints and the shapes of what they take and answer.
//!
//! Called by [`super::Api`] for `/openapi.yaml`, and by the command that writes docs/openapi.yaml. The tests of the server make requests
//! up from it, and fail at an answer that it does not describe.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItemBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr,
    Required, ResponseBuilder, Schema, SecurityRequirement, ServerBuilder,
};

use super::{BASE, Body, Failure, Work};

mod endpoints;
mod shapes;

use endpoints::{Answers, Described, Sent};

/// Answers `GET /openapi.yaml`.
pub(super) fn yaml() -> Result<Work, Failure> {
    let mut response = Response::new(Body::Whole(Bytes::from_static(text().as_bytes())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    Ok(Work::Done(response))
}

/// Answers `GET /openapi.json`.
pub(super) fn redirect() -> Result<Work, Failure> {
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/api/v1/sqlite/openapi.yaml"));
    Ok(Work::Done(response))
}

/// The description, in YAML.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document().to_yaml().unwrap_or_default())
}

fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("hoodydb")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("SQL and key-value access to SQLite databases that other programs use at the same time."));
    let mut paths = PathsBuilder::new();
    for path in endpoints::paths() {
        let mut item = PathItemBuilder::new();
        for (method, described) in endpoints::at(path) {
            item = item.operation(method, operation(&described));
        }
        paths = paths.path(path, item.build());
    }
    let token = SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Needed where the server has tokens, by everything but /health."))
            .build(),
    );
    let mut components = ComponentsBuilder::new().security_scheme("token", token);
    for (name, schema) in shapes::all() {
        components = components.schema(name, schema);
    }
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url(BASE).build()]))
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::default(), SecurityRequirement::new("token", [""; 0])]))
        .build()
}

fn operation(described: &Described) -> OperationBuilder {
    let mut operation =
        OperationBuilder::new().operation_id(Some(described.name)).summary(Some(described.summary)).tag(described.tag);
    for parameter in &described.parameters {
        operation = operation.parameter(parameter.clone());
    }
    if let Some(sent) = &described.sent {
        operation = operation.request_body(Some(request_body(sent)));
    }
    for (status, answers) in &described.answers {
        operation = operation.response(status.to_string(), response(*status, answers));
    }
    for status in described.failures {
        operation = operation.response(status.to_string(), failure(*status));
    }
    operation
}

fn request_body(sent: &Sent) -> utoipa::openapi::request_body::RequestBody {
    let body = RequestBodyBuilder::new();
    match sent {
        Sent::Json(name) => body.content("application/json", json(name)).required(Some(Required::True)),
        Sent::MaybeJson(name) => body.content("application/json", json(name)).required(Some(Required::False)),
        Sent::Value => {
            let any = || ContentBuilder::new().schema(Some(shapes::bytes())).build();
            body.content("application/octet-stream", any()).content("text/plain", any())
        }
    }
    .build()
}

fn response(status: u16, answers: &Answers) -> utoipa::openapi::Response {
    let words = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("an answer");
    let response = ResponseBuilder::new().description(words);
    match answers {
        Answers::Json(name) => response.content("application/json", json(name)),
        Answers::Either(names) => {
            let any = names.iter().fold(AnyOfBuilder::new(), |any, name| any.item(reference(name)));
            response.content("application/json", ContentBuilder::new().schema(Some(Schema::AnyOf(any.build()))).build())
        }
        Answers::Raw => response.content("*/*", ContentBuilder::new().schema(Some(shapes::bytes())).build()),
        Answers::Text(kind) => response.content(*kind, ContentBuilder::new().schema(Some(shapes::text())).build()),
        Answers::Nothing => response,
    }
    .build()
}

fn failure(status: u16) -> utoipa::openapi::Response {
    response(status, &Answers::Json("Failure"))
}

fn json(name: &str) -> utoipa::openapi::Content {
    ContentBuilder::new().schema(Some(reference(name))).build()
}

fn reference(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

/// A parameter of the query.
fn query(name: &str, schema: RefOr<Schema>, is_required: bool, words: &str) -> Parameter {
    parameter(name, ParameterIn::Query, schema, is_required, words)
}

fn parameter(name: &str, place: ParameterIn, schema: RefOr<Schema>, is_required: bool, words: &str) -> Parameter {
    let required = if is_required { Required::True } else { Required::False };
    let built = ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(schema));
    built.description(Some(words)).build()
}

/// Methods in the words of the description.
fn method(name: &str) -> HttpMethod {
    match name {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        "HEAD" => HttpMethod::Head,
        _ => HttpMethod::Get,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(method: &HttpMethod) -> http::Method {
        match method {
            HttpMethod::Post => http::Method::POST,
            HttpMethod::Put => http::Method::PUT,
            HttpMethod::Delete => http::Method::DELETE,
            HttpMethod::Head => http::Method::HEAD,
            _ => http::Method::GET,
        }
    }

    #[test]
    fn the_committed_description_is_the_servers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.yaml");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text(),
            "docs/openapi.yaml is not what the server says; write it anew with: cargo xtask docs"
        );
    }

    #[test]
    fn every_endpoint_is_described_and_every_reference_leads_somewhere() {
        let text = text();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once("#/components/schemas/"))
            .map(|(_, name)| name.trim_matches('\''))
            .collect();
        let known: Vec<String> = shapes::all().into_iter().map(|(name, _)| name).collect();
        for name in names {
            assert!(known.iter().any(|one| one == name), "{name} is described nowhere");
        }
        for path in endpoints::paths() {
            for (method, described) in endpoints::at(path) {
                let method = verb(&method);
                let concrete = path.replace("{key}", "k").replace("{index}", "1");
                assert!(super::super::route::route(&method, &concrete).is_ok(), "{method} {path} ({})", described.name);
            }
        }
    }
}
