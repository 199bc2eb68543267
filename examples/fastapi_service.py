"""A service of one's own: the bytes of an image file in, the age out.

    AGEDETECT_MODEL=model.onnx uvicorn examples.fastapi_service:app
    curl --data-binary @face.jpg http://127.0.0.1:8000/age

Needs `fastapi` and `uvicorn` beside agedetect. For photos rather than cut faces, call `estimator.find`.
"""

from __future__ import annotations

import os

from fastapi import FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from agedetect_runtime import AgeEstimator, ImageError

MOST_BYTES = 50_000_000  # of a body: more than any phone's photo

app = FastAPI()
estimator = AgeEstimator(os.environ["AGEDETECT_MODEL"])


@app.get("/health")
def health() -> str:
    return repr(estimator)


@app.post("/age")
async def age(request: Request) -> dict[str, float | None]:
    """In years; `low` and `high` bound it. 400 with the reason for what is no image, 413 for what is too long."""
    image = bytearray()
    async for part in request.stream():
        image += part
        if len(image) > MOST_BYTES:
            raise HTTPException(413, f"more than {MOST_BYTES:,} bytes")
    try:
        estimate = await run_in_threadpool(estimator.predict, bytes(image))
    except ImageError as error:
        raise HTTPException(400, str(error)) from error
    return {"age": estimate.age, "low": estimate.low, "high": estimate.high}
