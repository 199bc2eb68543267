"""From a registered MLflow model to one ONNX file with proven parity."""
