"""Medical images and arrays as Pillow images: DICOM, NIfTI, MetaImage and NRRD through SimpleITK, .npy through NumPy."""
import contextlib

import numpy as np
from PIL import Image

from common.data.opening import opened, read_array
from common.system.errors import UserError

SCANS = (".dcm", ".dicom", ".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
ENDINGS = (*SCANS, ".npy")


class Volume(UserError):
    """A volume where an image was expected, a slice that a volume does not have, or colours of more than 8 bits."""


def is_scan(file):
    return str(file).lower().endswith(ENDINGS)


@contextlib.contextmanager
def open_scan(file, plane=None):
    """The image in a file as a Pillow image, in a `with`: RGB where it has colours, else of mode F. plane: which slice of a
    volume, from 0. Raises Volume for a volume without one, ValueError or RuntimeError for what is no image."""
    values = _array(file, plane) if str(file).lower().endswith(".npy") else _slice_of_scan(file, plane)
    if values.ndim == 3:
        colours = values[..., :3]
        if values.dtype != np.uint8 and (values.dtype.kind == "f" or colours.min() < 0 or colours.max() > 255):
            raise Volume(f"{file}: colours of {values.dtype}, {colours.min():g} to {colours.max():g}; expected whole "
                         "numbers from 0 to 255: rescale them, all images in the same way")
        image = Image.fromarray(np.ascontiguousarray(colours, np.uint8), "RGB")
    else:
        image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    yield image


def _check(shape):
    """Raises ValueError for a plane (height, width) that is empty, or too large to be decoded."""
    height, width = shape
    if not 0 < width * height <= Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{width} x {height} pixels")


def plane_number(file, count, plane, unit="slices"):
    """The number of the slice, or what else the `unit` is, to read of a file with so many. Raises Volume where there is none
    of that number, or several and no `plane`."""
    if count == 1:
        return 0
    if plane is None:
        raise Volume(f"{file}: a volume of {count} slices; expected --slice K, from 0 to {count - 1}, for one slice of each "
                     "volume, or slices made beforehand, each as a file of its own (SimpleITK: WriteImage(image[:, :, k], "
                     "\"name-k.mha\"))")
    if plane >= count:
        raise Volume(f"{file}: {count} {unit}; expected --slice from 0 to {count - 1}")
    return plane


def _array(file, plane):
    """(H, W), or (H, W, 3 or 4) for colours; a volume's slices are along its first axis."""
    array = read_array(str(file))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        array = array[plane_number(file, len(array), plane)]
    if array.ndim not in (2, 3):
        raise ValueError(f"an array of {array.ndim} dimensions")
    _check(array.shape[:2])
    return array


def _slice_of_scan(file, plane):
    """(H, W), or (H, W, K) where a pixel has K numbers. Only the slice is kept."""
    import SimpleITK  # a third of a second that other images need not wait for
    with opened(file):
        pass  # a file, not a pipe
    reader = SimpleITK.ImageFileReader()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    size = list(reader.GetSize())
    if len(size) not in (2, 3):
        raise ValueError(f"an image of {len(size)} dimensions")
    _check(size[1::-1])
    if len(size) == 3:
        reader.SetExtractIndex([0, 0, plane_number(file, size[2], plane)])
        reader.SetExtractSize([*size[:2], 0])
    return SimpleITK.GetArrayFromImage(reader.Execute())
