"""Templates of class prompts in several languages, for `ClassPrompts(data, languages=TEMPLATES)`.

They are short, name the medium without an article of the class where the language allows it, and need no agreement with its
gender or case: the name stands alone at the end or after a colon.
"""

from collections.abc import Mapping

__all__ = ["TEMPLATES"]

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "cs": ("obrázek: {}", "fotografie: {}", "kresba: {}", "na obrázku je {}"),
    "de": ("ein Bild: {}", "ein Foto: {}", "eine Zeichnung: {}", "das ist {}"),
    "en": ("a picture of {}", "a photo of {}", "a drawing of {}", "this is {}"),
    "es": ("una imagen de {}", "una foto de {}", "un dibujo de {}", "esto es {}"),
    "fr": ("une image : {}", "une photo : {}", "un dessin : {}", "ceci est {}"),
    "it": ("un'immagine di {}", "una foto di {}", "un disegno di {}", "questo è {}"),
    "ja": ("{}の画像", "{}の写真", "{}の絵", "これは{}です"),
    "nl": ("een afbeelding van {}", "een foto van {}", "een tekening van {}", "dit is {}"),
    "pl": ("obraz: {}", "zdjęcie: {}", "rysunek: {}", "to jest {}"),
    "pt": ("uma imagem de {}", "uma foto de {}", "um desenho de {}", "isto é {}"),
    "ru": ("картинка: {}", "фотография: {}", "рисунок: {}", "это {}"),
    "tr": ("{} resmi", "{} fotoğrafı", "{} çizimi", "bu bir {}"),
    "zh": ("{}的图片", "{}的照片", "{}的图画", "这是{}"),
}
"""{language: templates}, by the ISO 639-1 codes of the shipped data sets; "{}" is the name of the class."""
