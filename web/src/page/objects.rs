//! What a signed link leads to, where the object store is a folder: an object, for whoever has the
//! link. A store that speaks S3 answers such links itself.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use store::objects::{Failure, Proof};

use crate::Portal;
use crate::catalogue::Language;
use crate::error::Problem;

#[derive(Deserialize)]
pub(crate) struct Terms {
    until: u64,
    proof: String,
}

pub(crate) async fn read(
    State(portal): State<Portal>,
    Path(key): Path<String>,
    terms: Result<Query<Terms>, QueryRejection>,
) -> Result<Response, Problem> {
    let t = Language::English;
    let Ok(Query(Terms { until, proof })) = terms else { return Err(Problem::NotFound(t)) };
    let proof = Proof { until, proof };
    match portal.objects.follow(&key, &proof, Portal::now()).await {
        Ok(bytes) => {
            let headers = [(CONTENT_TYPE, "audio/wav"), (CACHE_CONTROL, "private, max-age=60")];
            Ok((headers, bytes).into_response())
        }
        // Forged, over or gone: nobody learns which.
        Err(Failure::Missing(_)) => Err(Problem::NotFound(t)),
        Err(failure) => {
            tracing::warn!("an object cannot be shown: {failure}");
            Err(Problem::Unread(t))
        }
    }
}
